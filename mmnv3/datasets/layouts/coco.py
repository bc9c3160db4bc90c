"""COCO's annotation files."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from mmnv3.coco_file import count_dropped, read_coco
from mmnv3.datasets.layouts.samples import ANNOTATIONS, OwnData, Sample, part_of
from mmnv3.errors import UserError
from mmnv3.size import Size
from mmnv3.tasks import DETECTION

# What a config says of every data set of this kind.
DATASET = dict(type='mmnv3.CheckedCocoDataset')


def read_coco_layout(root: Path) -> OwnData | None:
    """Reads a folder with a file for training, and maybe one for validation.

    Raises:
        UserError: When files are not COCO's, when nobody can tell which is for
            training, when two have other classes, or when a picture is not there.
    """
    files = _find_files(root)
    if not files:
        return None
    by_part: dict[str, list[Path]] = defaultdict(list)
    for file in files:
        by_part[_part(file, root)].append(file)
    named = by_part.get('train') or by_part.get('', [])
    for found in (named, by_part.get('val', [])):
        if len(found) > 1:
            raise UserError(
                f'{found[0]} and {found[1].name} could both be meant; leave one, or '
                'call them train.json and val.json'
            )
    if not named:
        raise UserError(
            f'{files[0]} is for no training by its name; call one train.json'
        )
    parts, samples, remarks, classes = {}, {}, [], ()
    for part, file in (('train', named[0]), *((('val', f)) for f in by_part['val'])):
        data = read_coco(str(file), str(file), False)
        names = tuple(category['name'] for category in data['categories'])
        if classes and names != classes:
            raise UserError(
                f'{file} has the categories {", ".join(names)}, and {named[0]} '
                f'{", ".join(classes)}; give both the same in the same order'
            )
        classes = names
        folder = _picture_folder(file, root, data)
        samples[part] = _samples(data, folder)
        known = {category['id'] for category in data['categories']}
        remarks += [
            f'{file}: {count} annotations are left out, {reason}'
            for reason, count in count_dropped(data, known).items()
        ]
        parts[part] = dict(
            ann_file=file.relative_to(root).as_posix(),
            data_prefix=dict(img=_prefix(folder.relative_to(root))),
        )
    return OwnData(
        root=root,
        task=DETECTION,
        layout='COCO JSON',
        classes=classes,
        train=samples['train'],
        val=samples.get('val', ()),
        dataset=DATASET,
        parts=parts if 'val' in parts else None,
        remarks=tuple(remarks),
    )


def _prefix(folder: Path) -> str:
    return '' if folder == Path() else f'{folder.as_posix()}/'


def _find_files(root: Path) -> list[Path]:
    files = []
    for path in sorted([*root.glob('*.json'), *root.glob('*/*.json')]):
        # Captions are of pictures too, but have no categories.
        if path.parent.name == ANNOTATIONS or path.name.startswith('captions'):
            continue
        content = path.read_bytes()
        if b'"images"' in content and b'"categories"' in content:
            files.append(path)
    # Of COCO itself the others are of keypoints, or of what has no boxes.
    instances = [path for path in files if path.name.startswith('instances')]
    return instances or files


def _part(file: Path, root: Path) -> str:
    """The part that a file is of, by its own name or by that of its folder."""
    words = re.split(r'[^a-zA-Z0-9]+', file.stem)
    return part_of(words) or part_of(file.relative_to(root).parts[:-1])


def _picture_folder(file: Path, root: Path, data: dict[str, Any]) -> Path:
    """Where the pictures of a file are.

    Raises:
        UserError: When they are nowhere, or one of them is not there.
    """
    names = [image['file_name'] for image in data['images']]
    if not names:
        raise UserError(f'{file} lists no picture; add some')
    words = [file.stem.split('_')[-1], file.stem, _part(file, root) or 'train']
    places = [file.parent, root, root / 'images']
    for word in dict.fromkeys(words):
        # The last is where Cityscapes has its pictures, and `demo_data`.
        places += [
            root / word,
            root / 'images' / word,
            root / 'leftImg8bit' / word,
        ]
    folder = next((place for place in places if (place / names[0]).is_file()), None)
    if folder is None:
        known = list(dict.fromkeys(str(place.relative_to(root)) for place in places))
        raise UserError(
            f'{file} names the picture {names[0]}, which is in none of '
            f'{", ".join(known)} of {root}; put the pictures there'
        )
    for name in names:
        if not (folder / name).is_file():
            raise UserError(
                f'{file} names the picture {name}, which is not in {folder}; add it, '
                'or take it out of the file'
            )
    return folder


def _samples(data: dict[str, Any], folder: Path) -> tuple[Sample, ...]:
    numbers = {c['id']: number for number, c in enumerate(data['categories'])}
    by_image: dict[Any, list[dict]] = defaultdict(list)
    for annotation in data['annotations']:
        if annotation['category_id'] in numbers:
            by_image[annotation['image_id']].append(annotation)
    found = []
    for image in data['images']:
        # What `count_dropped` counts, mmdet leaves out.
        kept = [a for a in by_image[image['id']] if _is_used(a, image)]
        found.append(
            Sample(
                path=folder / image['file_name'],
                size=Size(int(image['width']), int(image['height'])),
                labels=np.array([numbers[a['category_id']] for a in kept], np.int64),
                boxes=np.array([a['bbox'] for a in kept], float).reshape(-1, 4),
                ignored=np.array([bool(a.get('iscrowd')) for a in kept], bool),
            )
        )
    return tuple(found)


def _is_used(annotation: dict, image: dict) -> bool:
    one = dict(images=[image], annotations=[annotation])
    return not count_dropped(one, {annotation['category_id']})


def detection_data(
    root: Path,
    layout: str,
    classes: tuple[str, ...],
    parts: Mapping[str, Sequence[Sample]],
    remarks: Sequence[str],
) -> OwnData:
    """Boxes of another layout, for which COCO's files are to be written.

    Args:
        root: See :class:`OwnData`, as all that follows.
        layout: The same.
        classes: The same.
        parts: Pictures of ``'train'`` and ``'val'``; others are left out.
        remarks: The same.
    """
    return OwnData(
        root=root,
        task=DETECTION,
        layout=layout,
        classes=classes,
        train=tuple(parts['train']),
        val=tuple(parts['val']),
        dataset=DATASET,
        remarks=tuple(remarks),
    )


def coco_text(
    samples: tuple[Sample, ...], classes: tuple[str, ...], root: Path
) -> dict[str, Any]:
    """Makes the content of an annotation file.

    Args:
        samples: The pictures.
        classes: Names, whose numbers become ids from 1 on.
        root: What the names of pictures are relative to.
    """
    images: list[dict[str, Any]] = []
    annotations: list[dict[str, Any]] = []
    for number, sample in enumerate(samples, 1):
        assert sample.size is not None
        images.append(
            dict(
                id=number,
                file_name=sample.path.relative_to(root).as_posix(),
                width=sample.size.width,
                height=sample.size.height,
            )
        )
        for label, box, ignored in zip(sample.labels, sample.boxes, sample.ignored):
            annotations.append(
                dict(
                    id=len(annotations) + 1,
                    image_id=number,
                    category_id=int(label) + 1,
                    bbox=[round(float(value), 3) for value in box],
                    area=round(float(box[2] * box[3]), 3),
                    iscrowd=int(ignored),
                )
            )
    categories = [dict(id=n, name=name) for n, name in enumerate(classes, 1)]
    return dict(images=images, annotations=annotations, categories=categories)
