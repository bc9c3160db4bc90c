"""Specifications as small JSON files, which a config can name as ``arch``."""

from __future__ import annotations

import json
import os
from dataclasses import MISSING, asdict, fields
from pathlib import Path
from typing import Any

from mmnv3.arch.spec import TASKS, BlockSpec, ConvSpec, NetSpec, SqueezeExcite
from mmnv3.errors import UserError
from mmnv3.files import whole_or_absent
from mmnv3.json_files import read_json

FORMAT = 'mmnv3-arch-1'


def save_spec(spec: NetSpec, path: str | os.PathLike[str]) -> None:
    """Writes a specification; the file appears whole or not at all."""
    text = json.dumps({'format': FORMAT, **asdict(spec)}, indent=1)
    with whole_or_absent(Path(path)) as partial:
        partial.write_text(text + '\n', encoding='utf-8')


def load_spec(path: str | os.PathLike[str]) -> NetSpec:
    """Reads a specification that :func:`save_spec` wrote, or one written by hand.

    Raises:
        UserError: When the file is missing, not JSON, or does not describe a
            network; names the file and the key.
    """
    try:
        data = read_json(path)
    except FileNotFoundError:
        raise UserError(f'{path}: there is no such architecture file') from None
    try:
        if not isinstance(data, dict) or data.pop('format', None) != FORMAT:
            raise UserError(f'"format" is not {FORMAT!r}')
        return _net(data)
    except UserError as error:
        raise UserError(f'{path}: {error}') from None


def _net(data: dict[str, Any]) -> NetSpec:
    rows = data.get('blocks')
    if not isinstance(rows, list):
        raise UserError('"blocks" is not a list')
    data['blocks'] = tuple(
        _build(BlockSpec, row, f'blocks[{index}]', se=SqueezeExcite)
        for index, row in enumerate(rows)
    )
    if 'tail' not in data:
        # Files of 0.1 say it in the name alone.
        name = str(data.get('name'))
        data['tail'] = next((task for task in TASKS if f'_{task}' in name), None)
    return _build(NetSpec, data, 'network', stem=ConvSpec, last=ConvSpec, head=ConvSpec)


def _build(cls: type, data: Any, where: str, **parts: type) -> Any:
    """Builds a dataclass from a dict, strictly: no missing and no unknown keys."""
    if not isinstance(data, dict):
        raise UserError(f'{where} is not an object')
    known = {field.name for field in fields(cls)}
    needed = {field.name for field in fields(cls) if field.default is MISSING}
    if unknown := set(data) - known:
        raise UserError(
            f'{where} has the unknown key {min(unknown)!r}; '
            f'possible: {", ".join(sorted(known))}'
        )
    if missing := needed - set(data):
        raise UserError(f'{where} lacks the key {min(missing)!r}')
    built = {
        key: _build(parts[key], value, f'{where}.{key}')
        if key in parts and value is not None
        else value
        for key, value in data.items()
    }
    try:
        return cls(**built)
    except UserError as error:
        raise UserError(f'{where}: {error}') from None
