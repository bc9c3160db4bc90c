"""JSON files that people may have edited."""

from __future__ import annotations

import json
import math
import os
from pathlib import Path
from typing import Any, NoReturn, TypeGuard

from mmnv3.errors import UserError, first_line


def read_json(path: str | os.PathLike[str]) -> Any:
    """Reads a JSON file, more strictly than Python does.

    Args:
        path: The file; a byte order mark, as Windows' editors write it, is allowed.

    Raises:
        FileNotFoundError: When there is none.
        UserError: When it is no JSON in UTF-8, says a key twice, or holds NaN or an
            infinity, which JSON does not have.
    """
    path = Path(path)
    try:
        if path.exists() and not path.is_file():
            raise ValueError('a folder or a device')
        text = path.read_bytes().decode('utf-8-sig')
        return json.loads(
            text, object_pairs_hook=_without_twins, parse_constant=_refuse_constant
        )
    except FileNotFoundError:
        raise
    except UnicodeDecodeError:
        reason = 'not in UTF-8; save it so'
    except RecursionError:
        reason = 'nested too deeply'
    except (OSError, ValueError) as error:
        reason = first_line(error)
    raise UserError(f'{path}: not a readable JSON file ({reason})')


def _without_twins(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        keys = [key for key, _ in pairs]
        twin = next(key for key in found if keys.count(key) > 1)
        raise ValueError(f'the key {twin!r} stands twice')
    return found


def _refuse_constant(text: str) -> NoReturn:
    raise ValueError(f'{text} is no number')


def is_number(value: Any) -> TypeGuard[int | float]:
    """Whether a value of JSON is a finite number; true is none."""
    return type(value) in (int, float) and math.isfinite(value)
