"""Writes a data set in another layout, to show `init_config` on what people have.

Example:
    python -m studies.layouts voc work_dirs/bccd_voc data/bccd
    python -m studies.layouts yolo work_dirs/persons_yolo data/coco --classes person
    python -m studies.layouts masks work_dirs/camvid_masks data/cityscapes
    python -m studies.layouts folders work_dirs/demo_objects work_dirs/demo_data

Pictures are linked, not copied; those without a box of the wanted classes are left out.
A classifier's are what is in the boxes.
A folder that is there already stays as it is.
"""

from __future__ import annotations

import argparse
import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
from PIL import Image

from mmnv3 import arguments
from mmnv3.datasets.layouts import OwnData, look_at
from mmnv3.datasets.layouts.samples import Sample
from mmnv3.errors import UserError, one_line_errors
from mmnv3.files import temporary_folder
from mmnv3.tasks import DETECTION, SEGMENTATION


def _places(data: OwnData) -> Iterator[tuple[str, Sample]]:
    for part, pictures in (('train', data.train), ('val', data.val)):
        for picture in pictures:
            yield part, picture


def write_voc(data: OwnData, out: Path) -> None:
    """Pascal VOC: corners are counted from 1, and both are inside the box."""
    listed: dict[str, list[str]] = {'train': [], 'val': []}
    for part, picture in _places(data):
        _link(picture.path, out / 'JPEGImages' / picture.path.name)
        listed[part].append(picture.path.stem)
        root = ElementTree.Element('annotation')
        _add(root, 'filename', picture.path.name)
        size = _add(root, 'size')
        assert picture.size is not None  # A detector's are known.
        for name, pixels in zip(('width', 'height'), picture.size):
            _add(size, name, f'{pixels}')
        rows = zip(picture.labels, picture.boxes, picture.ignored)
        for label, (left, top, width, height), ignored in rows:
            item = _add(root, 'object')
            _add(item, 'name', data.classes[label])
            _add(item, 'difficult', f'{ignored:d}')
            corners = dict(
                xmin=left + 1, ymin=top + 1, xmax=left + width, ymax=top + height
            )
            box = _add(item, 'bndbox')
            for name, value in corners.items():
                _add(box, name, f'{value:g}')
        file = out / 'Annotations' / f'{picture.path.stem}.xml'
        _write(file, ElementTree.tostring(root, encoding='unicode'))
    for part, stems in listed.items():
        _write(out / 'ImageSets' / 'Main' / f'{part}.txt', '\n'.join(stems))


def write_yolo(data: OwnData, out: Path) -> None:
    """YOLO: centres and sizes are parts of the picture's; it has no crowds."""
    for part, picture in _places(data):
        assert picture.size is not None  # A detector's are known.
        _link(picture.path, out / 'images' / part / picture.path.name)
        corners = picture.boxes[~picture.ignored]
        size = np.tile(picture.size, 2)
        boxes = np.hstack([corners[:, :2] + corners[:, 2:] / 2, corners[:, 2:]]) / size
        lines = [
            f'{label} ' + ' '.join(f'{value:.6f}' for value in box)
            for label, box in zip(picture.labels[~picture.ignored], boxes)
        ]
        name = f'{picture.path.stem}.txt'
        _write(out / 'labels' / part / name, '\n'.join(lines))
    _write(out / 'classes.txt', '\n'.join(data.classes))


def write_masks(data: OwnData, out: Path) -> None:
    """Pictures and masks, whose classes are numbered without gaps."""
    numbers = np.full(256, 255, np.uint8)
    numbers[list(data.labels)] = range(len(data.labels))
    for part, picture in _places(data):
        assert picture.mask is not None  # A segmenter's are known.
        _link(picture.path, out / 'images' / part / picture.path.name)
        file = out / 'masks' / part / f'{picture.path.stem}.png'
        file.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(numbers[np.asarray(Image.open(picture.mask))]).save(file)
    _write(out / 'classes.txt', '\n'.join(data.classes))


def write_folders(data: OwnData, out: Path) -> None:
    """A folder of pictures for each class: what is in its boxes."""
    for part, picture in _places(data):
        whole = Image.open(picture.path).convert('RGB')
        rows = zip(picture.labels, picture.boxes, picture.ignored)
        for number, (label, (left, top, width, height), ignored) in enumerate(rows):
            if ignored:
                continue
            folder = out / part / data.classes[label]
            folder.mkdir(parents=True, exist_ok=True)
            # All pixels that the box touches.
            low, high = (left, top), (left + width, top + height)
            corners = *map(math.floor, low), *map(math.ceil, high)
            whole.crop(corners).save(folder / f'{picture.path.stem}_{number}.png')


LAYOUTS: dict[str, tuple[str, Callable[[OwnData, Path], None]]] = {
    'voc': (DETECTION, write_voc),
    'yolo': (DETECTION, write_yolo),
    'masks': (SEGMENTATION, write_masks),
    'folders': (DETECTION, write_folders),
}


def only(data: OwnData, classes: Sequence[str]) -> OwnData:
    """A data set of some classes' boxes, and of the pictures that have one.

    Raises:
        UserError: For a class that is not one of the set.
    """
    for name in classes:
        if name not in data.classes:
            raise UserError(f'--classes {name}: possible are {", ".join(data.classes)}')
    numbers = np.full(len(data.classes), -1)
    numbers[[data.classes.index(name) for name in classes]] = range(len(classes))

    def kept(pictures: Sequence[Sample]) -> Iterator[Sample]:
        for picture in pictures:
            labels = numbers[picture.labels]
            mine = labels >= 0
            if mine.any():
                yield replace(
                    picture,
                    labels=labels[mine],
                    boxes=picture.boxes[mine],
                    ignored=picture.ignored[mine],
                )

    train, val = tuple(kept(data.train)), tuple(kept(data.val))
    return replace(data, classes=tuple(classes), train=train, val=val)


def _add(parent: ElementTree.Element, name: str, text: str = '') -> ElementTree.Element:
    element = ElementTree.SubElement(parent, name)
    element.text = text
    return element


def _link(source: Path, place: Path) -> None:
    place.parent.mkdir(parents=True, exist_ok=True)
    place.symlink_to(source.resolve())


def _write(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text + '\n', encoding='utf-8')


@one_line_errors()
def main(argv: Sequence[str] | None = None) -> None:
    """Parses the arguments, and writes the folder."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument('layout', choices=LAYOUTS)
    parser.add_argument(
        'out', type=arguments.path, metavar='OUT', help='folder to write'
    )
    parser.add_argument(
        'source', type=arguments.path, metavar='FOLDER', help='of the data'
    )
    parser.add_argument(
        '--classes',
        type=arguments.names,
        metavar='NAME[,NAME]',
        help="of a detector's boxes; all by default",
    )
    args = parser.parse_args(argv)
    if args.out.exists():
        print(f'{args.out} is there already')
        return
    task, write = LAYOUTS[args.layout]
    data = look_at(args.source, task)
    if args.classes:
        data = only(data, args.classes)
    with temporary_folder(args.out) as partial:
        # What is renamed is not removed in the end.
        write(data, partial / 'whole')
        (partial / 'whole').rename(args.out)
    print(f'{len(data.train)} pictures to train on, {len(data.val)} to validate')


if __name__ == '__main__':
    main()
