"""YOLO's labels: a text file for each picture."""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np
import yaml

from mmnv3.datasets.layouts.coco import detection_data
from mmnv3.datasets.layouts.samples import (
    OwnData,
    Sample,
    check_names,
    list_pictures,
    part_of,
    picture_size,
    read_names,
)
from mmnv3.errors import UserError, first_line
from mmnv3.size import Size

_NAMES = ('classes.txt', 'obj.names', 'labels/classes.txt')
# What rounding to six decimals, and more, makes of a box that touches the edge.
_SLACK = 1e-3


def read_yolo(root: Path) -> OwnData | None:
    """Reads a folder with names of classes and a text file for each picture.

    A line of a label file is a class from 0 on, and centre and size of a box as
    fractions of the picture; or the corners of an outline, whose box is taken. A
    picture without a file, or with an empty one, has no object.

    Raises:
        UserError: When a line is wrong, with the file and its number.
    """
    settings, source = _settings(root)
    pictures = list_pictures(root)
    labels = {path: _label_file(path, root) for path in pictures}
    if not any(labels.values()):
        return None
    if source is None:
        raise UserError(
            f'{root} has YOLO labels and no names of classes; write them into '
            f'{root / "classes.txt"}, one a line'
        )
    names = settings.get('names')
    if names is None:
        raise UserError(f'{source} has no names; add names: [first, second]')
    classes = check_names(_listed(names, source), source)
    parts: dict[str, list[Sample]] = {'train': [], 'val': [], 'test': []}
    told = _told_parts(root, settings, source)
    for path in pictures:
        relative = path.relative_to(root)
        part = _told_part(relative, told) or part_of(relative.parts[:-1]) or 'train'
        parts[part].append(_read_sample(path, labels[path], classes, source))
    remarks = []
    bare = sum(file is None for file in labels.values())
    if bare:
        remarks.append(f'{bare} pictures have no label file, and so no object')
    used = {file for file in labels.values() if file}
    folders = {file.parent for file in used}
    lost = sorted(
        file for folder in folders for file in folder.glob('*.txt')
        if file not in used and file.name not in ('classes.txt', 'train.txt', 'val.txt')
    )  # fmt: skip
    if lost:
        remarks.append(f'{len(lost)} label files have no picture; the first: {lost[0]}')
    if parts['test']:
        remarks.append(f'{len(parts["test"])} pictures for testing are left out')
    return detection_data(root, 'YOLO txt', classes, parts, remarks)


def _settings(root: Path) -> tuple[Mapping[str, Any], Path | None]:
    """What is said of the whole set, and where."""
    for path in sorted([*root.glob('*.yaml'), *root.glob('*.yml')]):
        try:
            content = yaml.safe_load(path.read_text(encoding='utf-8'))
        except (yaml.YAMLError, UnicodeDecodeError) as error:
            raise UserError(
                f'{path} is no readable YAML ({first_line(error)})'
            ) from None
        if isinstance(content, Mapping) and 'names' in content:
            return content, path
    for name in _NAMES:
        if (root / name).is_file():
            return dict(names=read_names(root / name)), root / name
    return {}, None


def _listed(names: Any, source: Path) -> list[Any]:
    """Names that stand in a list, or by their numbers."""
    if isinstance(names, Mapping):
        if sorted(names, key=str) != sorted(range(len(names)), key=str):
            raise UserError(
                f'{source}: names must have the numbers 0 to {len(names) - 1}'
            )
        return [names[number] for number in range(len(names))]
    if not isinstance(names, (list, tuple)):
        raise UserError(f'{source}: names is no list; write names: [first, second]')
    return list(names)


def _label_file(picture: Path, root: Path) -> Path | None:
    """The labels of a picture: in labels/ where it is in images/, or beside it."""
    parts = list(picture.relative_to(root).parts)
    places = [picture.with_suffix('.txt')]
    for index in reversed(range(len(parts) - 1)):
        if parts[index].lower() == 'images':
            swapped = [*parts[:index], 'labels', *parts[index + 1 :]]
            places.insert(0, root.joinpath(*swapped).with_suffix('.txt'))
            break
    return next((place for place in places if place.is_file()), None)


def _told_parts(
    root: Path, settings: Mapping[str, Any], source: Path
) -> dict[str, set[str]]:
    """Folders, and pictures, that the settings name for each part."""
    found: dict[str, set[str]] = {}
    for key in ('train', 'val', 'test'):
        given = settings.get(key) or []
        for name in [given] if isinstance(given, str) else given:
            place = _place(root, settings, str(name))
            if place is None:
                if key == 'test':
                    continue
                raise UserError(
                    f'{source}: {key} names {name}, which is not in {root}; correct it'
                )
            if place.is_file():
                lines = place.read_text(encoding='utf-8').splitlines()
                names = {PurePosixPath(line.strip()).as_posix() for line in lines}
                found.setdefault(key, set()).update(names - {'.'})
            else:
                found.setdefault(key, set()).add(place.relative_to(root).as_posix())
    return found


def _place(root: Path, settings: Mapping[str, Any], name: str) -> Path | None:
    """A folder or a list of the settings, wherever their writer was when naming it."""
    # Many name it from the folder beside the data, as ../train/images.
    parts = [part for part in PurePosixPath(name).parts if part not in ('..', '.')]
    shorter = [Path(*parts[start:]) for start in range(len(parts))]
    base = str(settings.get('path', ''))
    for place in (root / base / name, root / name, *(root / path for path in shorter)):
        place = place.resolve()
        if place.exists() and place.is_relative_to(root.resolve()):
            return root / place.relative_to(root.resolve())
    return None


def _told_part(relative: Path, told: Mapping[str, set[str]]) -> str:
    name = relative.as_posix()
    for part, places in told.items():
        folders = {parent.as_posix() for parent in relative.parents}
        if places & folders or any(place.endswith(name) for place in places):
            return part
    # What the settings do not name is not part of the set.
    return 'test' if told.get('train') and told.get('val') else ''


def _read_sample(
    picture: Path, labels: Path | None, classes: tuple[str, ...], names: Path
) -> Sample:
    size = picture_size(picture)
    rows = [] if labels is None else _read_rows(labels, classes, names)
    boxes = np.array([_to_pixels(box, size) for _, box in rows]).reshape(-1, 4)
    return Sample(
        path=picture,
        size=size,
        labels=np.array([label for label, _ in rows], np.int64),
        boxes=boxes,
        ignored=np.zeros(len(rows), bool),
    )


Box = tuple[float, float, float, float]


def _read_rows(
    path: Path, classes: tuple[str, ...], names: Path
) -> list[tuple[int, Box]]:
    """Classes, and boxes as left, top, right, bottom, fractions of the picture."""
    rows = []
    try:
        lines = path.read_text(encoding='utf-8-sig').splitlines()
    except UnicodeDecodeError:
        raise UserError(f'{path} is no text of labels; correct or remove it') from None
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        place = f'{path}, line {number}'
        try:
            label, *values = map(float, line.split())
        except ValueError:
            label, values = math.nan, []
        if not all(map(math.isfinite, (label, *values))) or label != int(label):
            raise UserError(
                f'{place}: {line[:60]!r} is no label; a line is the number of a class, '
                'and x, y, width and height of a box from 0 to 1'
            )
        if not 0 <= label < len(classes):
            raise UserError(
                f'{place}: there is no class {label:g}; {names} names '
                f'{len(classes)}, 0 to {len(classes) - 1}: correct one of them'
            )
        rows.append((int(label), _read_box(values, place)))
    return rows


def _read_box(values: list[float], place: str) -> Box:
    if len(values) == 4:
        x, y, width, height = values
        box = x - width / 2, y - height / 2, x + width / 2, y + height / 2
        fits = width > 0 and height > 0
    else:
        # An outline: three corners at least.
        fits = len(values) >= 6 and len(values) % 2 == 0
        xs, ys = values[::2] or [0.0], values[1::2] or [0.0]
        box = min(xs), min(ys), max(xs), max(ys)
    if not fits or min(box) < -_SLACK or max(box) > 1 + _SLACK:
        raise UserError(
            f'{place}: {" ".join(f"{value:g}" for value in values[:4])} is no box in '
            'the picture; it is x, y of its centre, width and height as fractions of '
            'the picture'
        )
    left, top, right, bottom = (min(1.0, max(0.0, value)) for value in box)
    return left, top, right, bottom


def _to_pixels(box: Box, size: Size) -> Box:
    left, top, right, bottom = box
    width, height = size
    return (
        left * width,
        top * height,
        (right - left) * width,
        (bottom - top) * height,
    )
