"""Tiny data sets in the layouts that people have, drawn by hand."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from PIL import Image

# Width and height of every picture.
SIZE = 40, 20
# Of boxes in VOC's corners: counted from 1, both inside.
Objects = Sequence[tuple[str, tuple[int, int, int, int]]]
CELL: Objects = [('cell', (3, 2, 12, 11)), ('dust', (21, 5, 30, 14))]


def draw(path: Path, seed: int = 0, size: tuple[int, int] = SIZE) -> Path:
    """Writes a picture of noise; every seed has its own."""
    noise = np.random.default_rng(seed).integers(0, 256, (*size[::-1], 3), np.uint8)
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(noise).save(path)
    return path


def voc_text(name: str, objects: Objects, size: tuple[int, int] = SIZE) -> str:
    boxes = ''.join(
        f'<object><name>{label}</name><bndbox><xmin>{box[0]}</xmin>'
        f'<ymin>{box[1]}</ymin><xmax>{box[2]}</xmax><ymax>{box[3]}</ymax></bndbox>'
        '</object>'
        for label, box in objects
    )
    return (
        f'<annotation><filename>{name}</filename><size><width>{size[0]}</width>'
        f'<height>{size[1]}</height></size>{boxes}</annotation>'
    )


def make_voc(root: Path, count: int = 5, objects: Objects = CELL) -> Path:
    for number in range(count):
        picture = draw(root / f'JPEGImages/{number}.png', number)
        path = root / f'Annotations/{number}.xml'
        path.parent.mkdir(exist_ok=True)
        path.write_text(voc_text(picture.name, objects))
    return root


def make_yolo(root: Path, lines: str, count: int = 5) -> Path:
    for number in range(count):
        draw(root / f'images/{number}.png', number)
        path = root / f'labels/{number}.txt'
        path.parent.mkdir(exist_ok=True)
        path.write_text(lines)
    (root / 'classes.txt').write_text('cell\ndust\n')
    return root


def make_coco(root: Path, count: int = 5, **changes: object) -> Path:
    """One file, which is of no part, and its pictures in images/."""
    images, annotations = [], []
    for number in range(count):
        draw(root / f'images/{number}.png', number)
        images.append(
            dict(id=number, file_name=f'{number}.png', width=SIZE[0], height=SIZE[1])
        )
        annotations.append(
            dict(
                id=number, image_id=number, category_id=7, bbox=[2, 1, 10, 10],
                area=100, iscrowd=0,
            )
        )  # fmt: skip
    categories = [dict(id=7, name='cell'), dict(id=9, name='dust')]
    content: Mapping = dict(
        images=images, annotations=annotations, categories=categories
    )
    (root / 'annotations').mkdir()
    (root / 'annotations/all.json').write_text(json.dumps({**content, **changes}))
    return root


def make_masks(root: Path, count: int = 5, labels: Sequence[int] = (0, 1, 255)) -> Path:
    """images/ and masks/ with a palette, in which 1 is no grey of its own."""
    for number in range(count):
        draw(root / f'images/{number}.jpg', number)
        mask = np.zeros(SIZE[::-1], np.uint8)
        for place, label in enumerate(labels):
            mask[:, place * 10 : place * 10 + 10] = label
        picture = Image.fromarray(mask, 'P')
        picture.putpalette([10, 20, 30, 200, 100, 0] + [0] * 756 + [255] * 6)
        (root / 'masks').mkdir(exist_ok=True)
        picture.save(root / f'masks/{number}.png')
    return root


def make_cityscapes(root: Path, labels: Sequence[int] = (0, 13, 255)) -> Path:
    for part, count in (('train', 3), ('val', 1)):
        for number in range(count):
            name = f'{part}/town/{number}'
            draw(root / f'leftImg8bit/{name}_leftImg8bit.png', number)
            mask = np.resize(np.array(labels, np.uint8), SIZE[::-1])
            path = root / f'gtFine/{name}_gtFine_labelTrainIds.png'
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(mask).save(path)
    return root


def make_folders(root: Path, counts: Mapping[str, int]) -> Path:
    seed = 0
    for folder, count in counts.items():
        for number in range(count):
            seed += 1
            draw(root / folder / f'{number}.png', seed)
    return root
