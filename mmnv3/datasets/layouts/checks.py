"""What of a data set will hurt a training."""

from __future__ import annotations

import numpy as np

from mmnv3.datasets.layouts.samples import OwnData, Sample, group_by_content
from mmnv3.size import Size
from mmnv3.tasks import CLASSIFICATION, DETECTION, SEGMENTATION

# Fewer of a class are hardly learnt; smaller boxes are hardly seen, in pixels.
_FEW, _SMALL_PIXELS = 20, 4.0
_UNITS = {DETECTION: 'boxes', SEGMENTATION: 'pictures', CLASSIFICATION: 'pictures'}


def count_classes(samples: tuple[Sample, ...], classes: int) -> np.ndarray:
    """Counts boxes of each class, or pictures with it, (classes,) int."""
    labels = [s.labels[~s.ignored] if len(s.ignored) else s.labels for s in samples]
    joined = np.concatenate(labels) if labels else np.zeros(0, int)
    return np.bincount(joined.astype(int), minlength=classes)


def scaled_boxes(samples: tuple[Sample, ...], size: Size) -> np.ndarray:
    """Widths and heights of boxes in pictures that are resized, (N, 2) pixels."""
    found = [np.zeros((0, 2))]
    for sample in samples:
        if len(sample.boxes) and sample.size:
            boxes = sample.boxes[~sample.ignored, 2:]
            found.append(boxes * np.divide(size, sample.size))
    return np.concatenate(found)


def find_trouble(data: OwnData, size: Size) -> list[str]:
    """Says what will hurt.

    Args:
        data: The data, split.
        size: Of the network's input.

    Returns:
        A sentence each; none where all is well.
    """
    return [
        *data.remarks,
        *_rare_classes(data),
        *(_small_boxes(data, size) if data.task == DETECTION else ()),
        *(_empty_pictures(data) if data.task == DETECTION else ()),
        *_duplicates(data),
    ]


def _rare_classes(data: OwnData) -> list[str]:
    unit, found = _UNITS[data.task], []
    train = count_classes(data.train, len(data.classes))
    val = count_classes(data.val, len(data.classes))
    rare = [n for n in np.argsort(train, kind='stable') if 0 < train[n] < _FEW]
    if rare:
        named = ', '.join(f'{data.classes[n]} ({train[n]})' for n in rare[:5])
        found.append(
            f'{len(rare)} classes have fewer than {_FEW} {unit} to train on: {named}'
            + ' …' * (len(rare) > 5)
        )
    unseen = [n for n in range(len(data.classes)) if train[n] and not val[n]]
    if unseen:
        named = ', '.join(data.classes[n] for n in unseen[:5])
        found.append(
            f'{len(unseen)} classes are in no validation picture, and so in no '
            f'result: {named}' + ' …' * (len(unseen) > 5)
        )
    return found


def _small_boxes(data: OwnData, size: Size) -> list[str]:
    sides = scaled_boxes(data.train, size).min(axis=1)
    small = int((sides < _SMALL_PIXELS).sum())
    if not small:
        return []
    return [
        f'{small} of {len(sides)} training boxes are under {_SMALL_PIXELS:g} pixels at '
        f'{size}; a larger input_size, or cutting the pictures up, would show them'
    ]


def _empty_pictures(data: OwnData) -> list[str]:
    found = []
    for samples, what in (
        (data.train, 'are not trained on'),
        (data.val, 'count in validation by false alarms alone'),
    ):
        empty = sum(bool(sample.ignored.all()) for sample in samples)
        if empty:
            found.append(f'{empty} of {len(samples)} pictures have no boxes and {what}')
    return found


def _duplicates(data: OwnData) -> list[str]:
    train = {sample.path for sample in data.train}
    pairs = []
    for group in group_by_content(data.samples):
        seen = [sample.path for sample in group if sample.path in train]
        pairs += [(s.path, seen[0]) for s in group if s.path not in train and seen]
    if not pairs:
        return []
    mine, other = (path.relative_to(data.root) for path in pairs[0])
    return [
        f'{len(pairs)} of {len(data.val)} validation pictures are trained on, too, '
        f'which flatters the result: {mine} is {other}'
    ]
