"""What is found in a data set, in whatever layout: pictures and their truth."""

from __future__ import annotations

import hashlib
import re
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from mmnv3.errors import UserError
from mmnv3.pictures import is_picture_name, list_files
from mmnv3.size import Size

# Beside the data: what is written of it, and so is never read as part of it.
ANNOTATIONS = 'mmnv3_annotations'

# What folders and files of a part of the data are called.
_PARTS = {
    'train': 'train',
    'training': 'train',
    'val': 'val',
    'valid': 'val',
    'validation': 'val',
    'test': 'test',
    'testing': 'test',
}
# EXIF's tag of how a camera was held, and its values for lying on a side.
_ORIENTATION, _LYING = 0x0112, (5, 6, 7, 8)


def _no_boxes() -> np.ndarray:
    return np.zeros((0, 4))


def _no_labels() -> np.ndarray:
    return np.zeros(0, np.int64)


@dataclass(frozen=True, eq=False)
class Sample:
    """A picture and its truth.

    Attributes:
        path: The picture.
        size: Its pixels, upright; None where nobody needed them.
        labels: Numbers of classes, (N,) int: of its boxes, of the classes in its mask,
            or of the picture itself.
        boxes: Left, top, width and height in pixels, (N, 4), counted from 0.
        ignored: Which boxes are neither found nor missed in a test, (N,) bool.
        mask: Its label picture.
        pixels: How many each class of the mask has, (N,).
    """

    path: Path
    size: Size | None = None
    labels: np.ndarray = field(default_factory=_no_labels)
    boxes: np.ndarray = field(default_factory=_no_boxes)
    ignored: np.ndarray = field(default_factory=lambda: np.zeros(0, bool))
    mask: Path | None = None
    pixels: np.ndarray = field(default_factory=_no_labels)


@dataclass(frozen=True, eq=False)
class OwnData:
    """A data set that was looked at.

    Attributes:
        root: Its folder.
        task: As in :mod:`mmnv3.tasks`.
        layout: The name of its layout.
        classes: Names, by their numbers.
        train: Pictures to train on.
        val: Pictures to validate on; none where the data has no such part.
        dataset: What a config says of its data sets, training and validation alike.
        parts: What it says of ``'train'`` and of ``'val'`` alone, by names relative to
            the folder; None where lists or annotation files are to be written first.
        remarks: What its owner should know; a line each.
        labels: The number that each class has in label pictures.
    """

    root: Path
    task: str
    layout: str
    classes: tuple[str, ...]
    train: tuple[Sample, ...]
    val: tuple[Sample, ...]
    dataset: dict[str, Any]
    parts: dict[str, dict[str, Any]] | None = None
    remarks: tuple[str, ...] = ()
    labels: tuple[int, ...] = ()

    @property
    def samples(self) -> tuple[Sample, ...]:
        """All pictures."""
        return self.train + self.val

    def count_classes(self) -> str:
        """How many there are, in words."""
        return f'{len(self.classes)} class' + 'es' * (len(self.classes) != 1)


def part_of(names: Iterable[str]) -> str:
    """Tells the part of the data by names of folders, as ``train2017``.

    Returns:
        ``'train'``, ``'val'`` or ``'test'`` by the first name that says so, or ``''``.
    """
    found = (_PARTS.get(re.sub(r'[\W_]*\d+$', '', name.lower())) for name in names)
    return next(filter(None, found), '')


def list_pictures(root: Path) -> list[Path]:
    """The pictures in a folder and its subfolders, sorted."""
    return [
        path
        for path in list_files(root)
        if is_picture_name(path) and ANNOTATIONS not in path.relative_to(root).parts
    ]


def picture_size(path: Path) -> Size:
    """The size of a picture as it is loaded, upright, without decoding it.

    Raises:
        UserError: When the file is no picture.
    """
    try:
        with Image.open(path) as picture:
            width, height = picture.size
            lies = picture.getexif().get(_ORIENTATION) in _LYING
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError):
        raise UserError(
            f'{path}: not a readable picture; replace or remove it'
        ) from None
    return Size(height, width) if lies else Size(width, height)


def read_names(path: Path) -> tuple[str, ...]:
    """Reads the names of classes, one a line.

    Raises:
        UserError: When there are none, or one stands twice.
    """
    try:
        lines = path.read_text(encoding='utf-8-sig').splitlines()
    except UnicodeDecodeError:
        raise UserError(f'{path} is no UTF-8; save it as UTF-8') from None
    return check_names([line.strip() for line in lines if line.strip()], path)


def check_names(names: Sequence[Any], source: Path) -> tuple[str, ...]:
    """Refuses names of classes that are none.

    Raises:
        UserError: When there are none, or one stands twice.
    """
    found = tuple(map(str, names))
    if not found:
        raise UserError(f'{source} names no class; write the name of each')
    if twice := next((name for name in found if found.count(name) > 1), None):
        raise UserError(f'{source} names the class {twice!r} twice; name each once')
    return found


def group_by_content(samples: Sequence[Sample]) -> list[list[Sample]]:
    """Puts pictures of which files are the same, byte by byte, together.

    Only those of one length are read.

    Returns:
        Groups in the order of their first picture; nearly all have one.
    """
    by_length: dict[int, list[int]] = defaultdict(list)
    for index, sample in enumerate(samples):
        by_length[sample.path.stat().st_size].append(index)
    groups: dict[object, list[int]] = defaultdict(list)
    for length, indices in by_length.items():
        for index in indices:
            digest: object = index
            if len(indices) > 1:
                content = samples[index].path.read_bytes()
                digest = length, hashlib.blake2b(content).digest()
            groups[digest].append(index)
    found = sorted(groups.values())
    return [[samples[index] for index in group] for group in found]
