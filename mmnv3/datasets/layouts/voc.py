"""Pascal VOC's annotations: an XML file for each picture."""

from __future__ import annotations

import math
from pathlib import Path, PurePosixPath
from typing import Any
from xml.etree import ElementTree

import numpy as np

from mmnv3.datasets.layouts.coco import detection_data
from mmnv3.datasets.layouts.samples import (
    OwnData,
    Sample,
    list_pictures,
    part_of,
    picture_size,
)
from mmnv3.errors import UserError
from mmnv3.size import Size

_CORNERS = ('xmin', 'ymin', 'xmax', 'ymax')
# What boxes may reach over the edge, as some tools round.
_SLACK_PIXELS = 1.0


def read_voc(root: Path) -> OwnData | None:
    """Reads a folder with XML files, and pictures in JPEGImages/, images/ or beside.

    VOC's corners are pixels counted from 1, both inside the box, so that a box is
    (xmin - 1, ymin - 1, xmax - xmin + 1, ymax - ymin + 1). Where a set has a corner of
    0, its tool counted from 0, and a box is (xmin, ymin, xmax - xmin, ymax - ymin).
    Objects that are marked difficult are neither found nor missed in a test.

    Raises:
        UserError: When a file is wrong, or names a picture that is not there.
    """
    documents = {}
    for path in sorted(root.rglob('*.xml')):
        try:
            tree = ElementTree.parse(path).getroot()
        except (ElementTree.ParseError, OSError, ValueError) as error:
            raise UserError(
                f'{path} is no readable XML ({error}); correct or remove it'
            ) from None
        if tree.tag == 'annotation':
            documents[path] = tree
    if not documents:
        return None
    objects = {path: _objects(tree, path) for path, tree in documents.items()}
    names = {name for found in objects.values() for name, *_ in found}
    if not names:
        raise UserError(
            f'{root}: no XML file has an <object>; there is nothing to find'
        )
    classes = tuple(sorted(names))
    corners = [box for found in objects.values() for _, box, _ in found]
    first = 0 if min(min(box[:2]) for box in corners) < 1 else 1
    lists = _lists(root)
    parts: dict[str, list[Sample]] = {'train': [], 'val': [], 'test': []}
    for path, tree in documents.items():
        part = lists.get(path.stem, 'test') if lists else ''
        part = part or part_of(path.relative_to(root).parts[:-1]) or 'train'
        sample = _sample(path, tree, objects[path], classes, first, root)
        parts[part].append(sample)
    remarks = [] if first else ['its corners are counted from 0, by the smallest']
    difficult = sum(int(s.ignored.sum()) for found in parts.values() for s in found)
    if difficult:
        remarks.append(f'{difficult} boxes are marked difficult and not trained on')
    if parts['test']:
        remarks.append(f'{len(parts["test"])} pictures for testing are left out')
    used = {sample.path for found in parts.values() for sample in found}
    bare = sum(path not in used for path in list_pictures(root))
    if bare:
        remarks.append(f'{bare} pictures have no XML file and are left out')
    return detection_data(root, 'Pascal VOC XML', classes, parts, remarks)


def _lists(root: Path) -> dict[str, str]:
    """The part of each picture by its stem, where VOC's lists say it."""
    found = {}
    for part in ('test', 'train', 'val'):
        path = root / 'ImageSets' / 'Main' / f'{part}.txt'
        if path.is_file():
            for line in path.read_text(encoding='utf-8').splitlines():
                if line.strip():
                    found[line.split()[0]] = part
    return found if 'train' in found.values() else {}


Corners = tuple[float, ...]


def _objects(tree: Any, path: Path) -> list[tuple[str, Corners, bool]]:
    """Names, corners and whether they are difficult."""
    found = []
    for number, item in enumerate(tree.iter('object'), 1):
        name = (item.findtext('name') or '').strip()
        texts = [item.findtext(f'bndbox/{key}') for key in _CORNERS]
        try:
            corners = tuple(float(text or '') for text in texts)
        except ValueError:
            corners = ()
        if not name or not corners or not all(map(math.isfinite, corners)):
            raise UserError(
                f'{path}: object {number} lacks <name> or a number in <bndbox>; '
                f'it needs {", ".join(_CORNERS)}'
            )
        found.append(
            (name, corners, (item.findtext('difficult') or '0').strip() == '1')
        )
    return found


def _sample(
    path: Path,
    tree: Any,
    objects: list[tuple[str, Corners, bool]],
    classes: tuple[str, ...],
    first: int,
    root: Path,
) -> Sample:
    picture = _picture(path, tree, root)
    size = picture_size(picture)
    said = [tree.findtext(f'size/{key}') or '0' for key in ('width', 'height')]
    if '0' not in said and tuple(said) != tuple(map(str, size)):
        raise UserError(
            f'{path} is of a picture of {"x".join(said)} pixels, and {picture} has '
            f'{size}; give the annotation that is of this picture'
        )
    boxes = [
        _box(box, size, first, f'{path}: object {n}')
        for n, (_, box, _) in enumerate(objects, 1)
    ]
    return Sample(
        path=picture,
        size=size,
        labels=np.array([classes.index(name) for name, *_ in objects], np.int64),
        boxes=np.array(boxes, float).reshape(-1, 4),
        ignored=np.array([difficult for *_, difficult in objects], bool),
    )


def _picture(path: Path, tree: Any, root: Path) -> Path:
    name = (tree.findtext('filename') or '').strip()
    # Some tools write where it was on their machine.
    name = PurePosixPath(name.replace('\\', '/')).name
    if not name:
        raise UserError(f'{path} has no <filename>; name its picture')
    relative = path.relative_to(root).parent.parts
    places = [path.parent, root]
    for folder in ('JPEGImages', 'images'):
        # In place of any folder of the file's path, as of Annotations/.
        for index in range(len(relative)):
            swapped = [*relative[:index], folder, *relative[index + 1 :]]
            places.append(root.joinpath(*swapped))
        places.append(root / folder)
    for place in places:
        if (place / name).is_file():
            return place / name
    known = dict.fromkeys(str(place.relative_to(root)) for place in places)
    raise UserError(
        f'{path} names the picture {name}, which is in none of {", ".join(known)} of '
        f'{root}; add the picture, or remove the file'
    )


def _box(corners: Corners, size: Size, first: int, place: str) -> list[float]:
    """Left, top, width and height, from corners that are counted from ``first``."""
    left, top, right, bottom = corners
    left, top = left - first, top - first
    inside = (
        min(left, top) >= -_SLACK_PIXELS
        and right <= size.width + _SLACK_PIXELS
        and bottom <= size.height + _SLACK_PIXELS
    )
    if right <= left or bottom <= top or not inside:
        raise UserError(
            f'{place}: ({", ".join(f"{value:g}" for value in corners)}) is no box in '
            f'a picture of {size}; correct or remove it'
        )
    left, top = max(0.0, left), max(0.0, top)
    return [left, top, min(right, size.width) - left, min(bottom, size.height) - top]
