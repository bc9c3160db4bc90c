"""COCO's annotation files: read, and their structure checked before it is believed."""

from __future__ import annotations

import json
import math
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

from mmnv3.errors import UserError


def _is_id(value: Any) -> bool:
    return type(value) in (int, str)


def _is_number(value: Any) -> bool:
    # Larger ones are no floats.
    return type(value) in (int, float) and abs(value) < 1e18


def _is_box(value: Any) -> bool:
    return type(value) is list and len(value) == 4 and all(map(_is_number, value))


def _is_size(value: Any) -> bool:
    return _is_number(value) and value > 0 and math.isfinite(value)


def _is_name(value: Any) -> bool:
    return type(value) is str and bool(value) and '\0' not in value


def _is_file_name(value: Any) -> bool:
    return _is_name(value) and '://' not in value


# By list: what each of its items needs, how that is told, and what it must be.
_Rule = tuple[Callable[[Any], bool], str]
_ID: _Rule = (_is_id, 'a whole number or a text')
_NUMBER: _Rule = (_is_number, 'a finite number')
_SIZE: _Rule = (_is_size, 'a positive number of pixels')
_RULES: dict[str, dict[str, _Rule]] = {
    'images': {
        'id': _ID,
        'file_name': (_is_file_name, "the name of a file in the pictures' folder"),
        'width': _SIZE,
        'height': _SIZE,
    },
    'annotations': {
        'id': _ID,
        'image_id': _ID,
        'category_id': _ID,
        'bbox': (_is_box, '[left, top, width, height] in finite numbers'),
        'area': _NUMBER,
    },
    'categories': {'id': _ID, 'name': (_is_name, 'a text')},
}


def read_coco(path: str, name: str, without_annotations: bool) -> dict[str, Any]:
    """Reads a file as COCO's.

    Args:
        path: Of the file, or of what was fetched of it.
        name: What errors call it.
        without_annotations: Whether it may lack them, as COCO's own files of the
            pictures that only its server can score.

    Returns:
        The file's content, whose lists have what `_RULES` asks for.

    Raises:
        UserError: Names the first item and key that is not as it must be.
    """
    data = _load(path, name)
    if without_annotations and isinstance(data, dict):
        data.setdefault('annotations', [])
    if not isinstance(data, dict) or any(
        not isinstance(data.get(key), list) for key in _RULES
    ):
        raise UserError(
            f'{name} is not a COCO annotation file: it needs the lists '
            f'{", ".join(_RULES)}'
        )
    for part, rules in _RULES.items():
        _check_items(data[part], part, rules, name)
        _check_ids(data[part], part, name)
    return data


def _load(path: str, name: str) -> Any:
    try:
        content = Path(path).read_bytes()
    except FileNotFoundError:
        raise UserError(
            f'{name}: there is no such annotation file; set data_root and ann_file'
        ) from None
    except OSError as error:
        raise UserError(f'{name}: not a readable JSON file ({error})') from None
    try:
        # Upstream's metrics read the file too, and know no other encoding.
        return json.loads(content.decode())
    except UnicodeDecodeError:
        raise UserError(f'{name} is no UTF-8; save it as UTF-8') from None
    except (ValueError, RecursionError) as error:
        hint = (
            '; save it as UTF-8 without BOM' if content[:3] == b'\xef\xbb\xbf' else ''
        )
        raise UserError(f'{name}: not a readable JSON file ({error}){hint}') from None


def _check_items(items: list, part: str, rules: dict[str, _Rule], name: str) -> None:
    for index, item in enumerate(items):
        if type(item) is not dict:
            raise UserError(
                f'{name} is not a COCO annotation file: {part}[{index}] is no object '
                f'with {", ".join(rules)}'
            )
    for key, (is_right, kind) in rules.items():
        for index, item in enumerate(items):
            if key not in item:
                raise UserError(
                    f'{name} is not a COCO annotation file: {part}[{index}] lacks '
                    f'{key!r}'
                )
            if not is_right(item[key]):
                raise UserError(
                    f'{name}: {part}[{index}].{key} is {json.dumps(item[key])[:60]}, '
                    f'and must be {kind}: correct it'
                )


def _check_ids(items: list[dict], part: str, name: str) -> None:
    counts = Counter(item['id'] for item in items)
    if len(counts) < len(items):
        twice = next(value for value, count in counts.items() if count > 1)
        raise UserError(
            f'{name}: {counts[twice]} of its {part} have the id {twice!r}, and the '
            'toolbox would take one for the other: give each its own'
        )


def count_dropped(data: dict[str, Any], known: set[int]) -> Counter[str]:
    """Counts annotations that mmdet leaves out, by reason."""
    sizes = {image['id']: (image['width'], image['height']) for image in data['images']}
    reasons: Counter[str] = Counter()
    for annotation in data['annotations']:
        left, top, width, height = annotation['bbox']
        if annotation['image_id'] not in sizes:
            reasons['their image is not listed'] += 1
            continue
        image_width, image_height = sizes[annotation['image_id']]
        inside = min(left + width, image_width) > max(left, 0) and min(
            top + height, image_height
        ) > max(top, 0)
        if annotation['category_id'] not in known:
            reasons['of categories that the config does not know'] += 1
        elif width < 1 or height < 1 or annotation['area'] <= 0:
            reasons['their box has no area'] += 1
        elif not inside:
            reasons['their box lies outside the image'] += 1
    return reasons
