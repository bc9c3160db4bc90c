"""Pictures with label pictures: Cityscapes' names, or images/ and masks/."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from mmseg.datasets import CityscapesDataset
from PIL import Image

from mmnv3.datasets.layouts.samples import (
    OwnData,
    Sample,
    list_pictures,
    part_of,
    picture_size,
    read_names,
)
from mmnv3.errors import UserError
from mmnv3.tasks import SEGMENTATION

# The label that counts for nothing.
IGNORED = 255
_CITY_PICTURE, _CITY_MASK = '_leftImg8bit', '_gtFine_labelTrainIds.png'
_CITY_FOLDERS = 'leftImg8bit', 'gtFine'


def read_cityscapes(root: Path) -> OwnData | None:
    """Reads a folder with Cityscapes' names.

    The classes are those of Cityscapes that occur, or those that a ``classes.txt``
    names.

    Raises:
        UserError: When a picture has no labels, or labels are not its own or no class.
    """
    pictures, labels = (root / name for name in _CITY_FOLDERS)
    if not pictures.is_dir() or not labels.is_dir():
        return None
    endings = {path.suffix for path in list_pictures(pictures)}
    suffix = _CITY_PICTURE + _one_ending(pictures, endings)
    pairs: dict[str, list[tuple[Path, Path]]] = {'train': [], 'val': []}
    for path in list_pictures(pictures):
        relative = path.relative_to(pictures)
        part = part_of(relative.parts[:-1]) or 'train'
        if part in pairs and path.name.endswith(suffix):
            name = path.name.removesuffix(suffix) + _CITY_MASK
            pairs[part].append((path, labels / relative.parent / name))
    if not pairs['train']:
        return None
    return _read_pairs(
        root,
        'Cityscapes',
        pairs,
        dict(
            img_suffix=suffix,
            seg_map_suffix=_CITY_MASK,
        ),
        tuple(CityscapesDataset.METAINFO['classes']),
        {
            part: dict(
                img_path=f'{_CITY_FOLDERS[0]}/{part}',
                seg_map_path=f'{_CITY_FOLDERS[1]}/{part}',
            )
            for part in pairs
        },
        _CITY_FOLDERS,
    )


def read_masks(root: Path) -> OwnData | None:
    """Reads images/ and masks/, with or without train/ and val/ in or around them.

    A mask is a PNG of class numbers, with a palette or without, of the same name; 255
    counts for nothing. Names of classes are those of ``classes.txt``.

    Raises:
        UserError: As :func:`read_cityscapes`, and for masks of one class.
    """
    inside = {part: (f'images/{part}', f'masks/{part}') for part in ('train', 'val')}
    around = {part: (f'{part}/images', f'{part}/masks') for part in ('train', 'val')}
    whole = {'train': ('images', 'masks')}
    for places in (inside, around, whole):
        if all((root / folder).is_dir() for folder in places['train']):
            break
    else:
        return None
    pairs: dict[str, list[tuple[Path, Path]]] = {'train': [], 'val': []}
    endings: set[str] = set()
    for part, (pictures, masks) in places.items():
        if not (root / pictures).is_dir():
            continue
        for path in list_pictures(root / pictures):
            endings.add(path.suffix)
            relative = path.relative_to(root / pictures).with_suffix('.png')
            pairs[part].append((path, root / masks / relative))
    return _read_pairs(
        root,
        'images/ and masks/',
        pairs,
        dict(img_suffix=_one_ending(root, endings), seg_map_suffix='.png'),
        (),
        {
            part: dict(img_path=pictures, seg_map_path=masks)
            for part, (pictures, masks) in places.items()
        },
        places['train'],
    )


def _one_ending(folder: Path, endings: set[str]) -> str:
    if len(endings) > 1:
        raise UserError(
            f'{folder}: pictures end in {", ".join(sorted(endings))}, and mmseg wants '
            'one ending; convert them'
        )
    return next(iter(endings), '')


def _read_pairs(
    root: Path,
    layout: str,
    pairs: dict[str, list[tuple[Path, Path]]],
    suffixes: dict[str, str],
    usual: tuple[str, ...],
    prefixes: dict[str, dict[str, str]],
    listed: Sequence[str],
) -> OwnData:
    """Reads all masks, and counts their classes.

    Args:
        root: The folder of the data.
        layout: Its name.
        pairs: Pictures and their masks, by part.
        suffixes: For the config.
        usual: Names that the layout gives, of which those are kept that occur.
        prefixes: Folders of each part, for the config.
        listed: Folders of pictures and masks that lists of names are relative to.
    """
    with ThreadPoolExecutor() as pool:
        samples = {
            part: tuple(pool.map(_read_pair, *zip(*found))) if found else ()
            for part, found in pairs.items()
        }
    counts: Counter[int] = Counter()
    example: dict[int, Path | None] = {}
    for found in samples.values():
        for sample in found:
            for label, pixels in zip(sample.labels.tolist(), sample.pixels.tolist()):
                counts[label] += pixels
                example.setdefault(label, sample.mask)
    occurring = sorted(set(counts) - {IGNORED})
    names = (root / 'classes.txt').is_file()
    if names:
        classes = read_names(root / 'classes.txt')
    elif usual:
        classes = usual
    else:
        classes = tuple(f'class {n}' for n in range(max(occurring, default=-1) + 1))
    strange = next((label for label in occurring if label >= len(classes)), None)
    if strange is not None:
        raise UserError(
            f'{example[strange]} holds the label {strange}, and there are '
            f'{len(classes)} classes, 0 to {len(classes) - 1} (255 counts for '
            f'nothing); convert it, or name the classes in {root / "classes.txt"}'
        )
    if len(occurring) < 2:
        raise UserError(
            f'the masks of {root} hold the labels {", ".join(map(str, sorted(counts)))}'
            ', of which 255 counts for nothing, and two classes are needed; number '
            'them from 0 on'
        )
    kind = 'mmnv3.CheckedSegDataset'
    labels = tuple(range(len(classes)))
    if usual and not names:
        kind, labels = 'mmnv3.CheckedCityscapesDataset', tuple(occurring)
        classes = tuple(usual[label] for label in occurring)
    number = {label: index for index, label in enumerate(labels)}
    return OwnData(
        root=root,
        task=SEGMENTATION,
        layout=layout,
        classes=classes,
        labels=labels,
        train=tuple(_renumbered(sample, number) for sample in samples['train']),
        val=tuple(_renumbered(sample, number) for sample in samples['val']),
        dataset=dict(
            type=kind,
            **suffixes,
            data_prefix=dict(img_path=listed[0], seg_map_path=listed[1]),
        ),
        parts={part: dict(data_prefix=prefixes[part]) for part in ('train', 'val')}
        if samples['val']
        else None,
    )


def _renumbered(sample: Sample, number: dict[int, int]) -> Sample:
    """With the numbers of the classes that are kept, and without what is ignored."""
    kept = [index for index, label in enumerate(sample.labels) if int(label) in number]
    labels = [number[int(sample.labels[index])] for index in kept]
    return replace(sample, labels=np.array(labels, int), pixels=sample.pixels[kept])


def _read_pair(picture: Path, mask: Path) -> Sample:
    size = picture_size(picture)
    if not mask.is_file():
        raise UserError(f'{picture} has no labels; {mask} is missing')
    labels = read_mask(mask)
    if labels.shape != size[::-1]:
        raise UserError(
            f'{mask} is {labels.shape[1]}x{labels.shape[0]} pixels and its picture '
            f'{picture} {size}; give the labels that are of this picture'
        )
    found, pixels = np.unique(labels, return_counts=True)
    return Sample(path=picture, size=size, mask=mask, labels=found, pixels=pixels)


def read_mask(path: Path) -> np.ndarray:
    """Reads class numbers, those of a palette where there is one.

    Returns:
        (H, W) int.

    Raises:
        UserError: When it cannot be read, or is of colours.
    """
    try:
        with Image.open(path) as picture:
            labels: Any = np.array(picture)
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError):
        raise UserError(f'{path}: not a readable picture; replace it') from None
    if labels.ndim != 2:
        raise UserError(
            f'{path} has {labels.shape[2]} channels; labels are one channel of class '
            'numbers, not colours: convert it'
        )
    return labels.astype(int)
