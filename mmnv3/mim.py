"""The configs and tools that travel with the package, where OpenMMLab's have theirs.

``mmnv3/.mim`` holds them in a wheel, and links to them in a checkout.
"""

from __future__ import annotations

import ast
import difflib
import os
from collections.abc import Iterable
from pathlib import Path

from mmnv3.errors import UserError

CONFIGS = Path(__file__).parent / '.mim' / 'configs'
TOOLS = CONFIGS.with_name('tools')
# What a config's name begins with that is to be found nowhere else.
PREFIX = 'mmnv3::'
# Names that are told in place of one that does not exist.
_MOST_NEAREST = 3


def config_names() -> list[str]:
    """The names of our configs, without folder and ending."""
    return sorted(path.stem for path in CONFIGS.glob('*.py'))


def tools() -> dict[str, str]:
    """The names of the tools, and what each does in a line."""
    return {path.stem: _first_line(path) for path in sorted(TOOLS.glob('*.py'))}


def _first_line(tool: Path) -> str:
    said = ast.get_docstring(ast.parse(tool.read_text(encoding='utf-8')))
    return (said or '').partition('\n')[0]


def find_config(name: str) -> str:
    """Finds a config of ours by its name.

    Args:
        name: A file; or, with or without its ending ``.py``, one of our configs, such
            as ``ssdlite_mnv3_large_coco`` and ``mmnv3::ssdlite_mnv3_large_coco``. A
            file of that name comes before ours, which the second way means in any case.

    Returns:
        Our file, or the name where it is none of ours.

    Raises:
        UserError: When it begins with ``mmnv3::`` and is none of ours, or when without
            its ending it may be ours or a file in the current folder.
    """
    own = name.removeprefix(PREFIX)
    file = CONFIGS / (own if own.endswith('.py') else f'{own}.py')
    if own != name:
        if not file.is_file():
            raise UserError(f'{name}: there is no such config{nearest_configs(own)}')
        return os.path.realpath(file)
    if Path(name).name != name or not file.is_file() or Path(name).is_file():
        return name
    if Path(file.name).is_file() and not file.samefile(file.name):
        raise UserError(
            f'{name} is a config of mmnv3, and there is a file {file.name}; say '
            f'{file.name} or {PREFIX}{name}'
        )
    return os.path.realpath(file)


def config_name(path: str) -> str:
    """What names a config in a command: of ours, the name suffices anywhere."""
    own = CONFIGS / os.path.basename(path)
    if os.path.realpath(own) == os.path.realpath(path) and own.is_file():
        return own.stem
    return path


def nearest_configs(name: str) -> str:
    """What to add to the error of a config that does not exist; empty if none is near.

    Args:
        name: The config's, with or without a folder and its ending.
    """
    found = nearest(os.path.basename(name).removesuffix('.py'), config_names())
    return f"; mmnv3's own, named without a folder: {found}" if found else ''


def nearest(name: str, names: Iterable[str]) -> str:
    """Those of some names that somebody may have meant, between commas."""
    return ', '.join(difflib.get_close_matches(name, list(names), _MOST_NEAREST))
