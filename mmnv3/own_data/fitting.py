"""What is chosen by the data: the input's size and the anchors."""

from __future__ import annotations

import math

import numpy as np
import torch
from torchvision.ops import box_iou

from mmnv3.datasets.layouts.checks import scaled_boxes
from mmnv3.datasets.layouts.samples import OwnData
from mmnv3.models.ssdlite import SSDLiteAnchorGenerator
from mmnv3.size import Size
from mmnv3.tasks import CLASSIFICATION, DETECTION

# Sides of inputs are multiples of the deepest map's stride.
_MULTIPLE = 32
# Sides of the square that an input has the area of: usually, and at most.
_USUAL = {DETECTION: 320, CLASSIFICATION: 224}
_SEGMENTER, _MOST = 512, 512
# The smallest twentieth of the boxes should have this many pixels: two cells of the
# first map, which is at stride 16.
_WANTED_PIXELS, _SMALLEST_PERCENT = 32, 5
# What an anchor shares with a box that is assigned to it, as in the configs.
_ASSIGNED_IOU = 0.5
_MIN_SCALES = (0.15, 0.1, 0.07, 0.05)
# Other anchors than the paper's pay if so much more of the boxes have one.
_PAYS = 0.05
_STRIDES = (16, 32, 64, 128, 256, 512)
# What a detector's crops may be asked to overlap every box by, mmdet's own choice; and
# the least part of a picture that they are, by the recipe's `min_crop_size`.
_CROP_OVERLAPS, _LEAST_CROP = (0.1, 0.3, 0.5, 0.7, 0.9), 0.25
# Boxes that anchors are tried on.
_BOXES = 2000


def choose_size(data: OwnData) -> Size:
    """Chooses the input's size by the pictures' aspect and the boxes' sizes.

    A classifier's is square. A detector's has the area of 320 × 320 pixels, or more
    where small boxes need it, but no more than the pictures or 512 × 512. A segmenter's
    is that of the pictures, up to the same area.
    """
    sizes = np.array([s.size for s in data.samples if s.size is not None])
    width, height = np.median(sizes, axis=0)
    if data.task == CLASSIFICATION:
        side = min(_USUAL[data.task], _round_up(min(width, height)))
        return Size(side, side)
    largest = min(1.0, _MOST / math.sqrt(width * height))
    scale = largest
    if data.task == DETECTION:
        scale = _USUAL[data.task] / math.sqrt(width * height)
        reference = Size(round(width), round(height))
        sides = np.sqrt(scaled_boxes(data.train, reference).prod(axis=1))
        sides = sides[sides > 0]
        if len(sides):
            wanted = _WANTED_PIXELS / np.percentile(sides, _SMALLEST_PERCENT)
            scale = max(scale, min(wanted, largest))
    return _nearest(width * scale, height * scale)


def _round_up(pixels: float) -> int:
    return _MULTIPLE * max(1, math.ceil(pixels / _MULTIPLE))


def _nearest(width: float, height: float) -> Size:
    """Multiples near to a size, of which the aspect differs least."""
    aspect = width / height

    def choices(pixels: float) -> list[int]:
        low = max(1, math.floor(pixels / _MULTIPLE))
        return [_MULTIPLE * low, _MULTIPLE * (low + 1)]

    def difference(size: Size) -> tuple[float, float]:
        other = abs(math.log(size.width / size.height / aspect))
        area = abs(math.log(size.width * size.height / (width * height)))
        # A tenth in aspect is as bad as a fifth in area.
        return 2 * other + area, area

    sizes = [Size(w, h) for w in choices(width) for h in choices(height)]
    return min(sizes, key=difference)


def choose_min_scale(data: OwnData, size: Size) -> tuple[float | None, float]:
    """Chooses the scale of the first anchors by the boxes that get one.

    Args:
        data: Of a detector.
        size: Of its input.

    Returns:
        The scale, None where the paper's serves; and the fraction of the boxes that
        an anchor overlaps enough.
    """
    boxes = _training_boxes(data, size)
    if not len(boxes):
        return None, 0.0
    usual = _fraction_with_anchor(boxes, size)
    found = {scale: _fraction_with_anchor(boxes, size, scale) for scale in _MIN_SCALES}
    best = max(found, key=lambda scale: found[scale])
    if found[best] < usual + _PAYS:
        return None, usual
    # Of those that serve nearly as well, the one nearest to the paper's.
    near = [scale for scale in _MIN_SCALES if found[scale] > found[best] - _PAYS / 5]
    return near[0], found[near[0]]


def choose_crop_overlaps(data: OwnData) -> tuple[float, ...]:
    """Chooses by what IoUs a crop may be asked to overlap every box of its picture.

    A box of less than a fortieth of the picture overlaps no crop of half its sides by a
    tenth. Where most pictures have one such crops are hardly ever found, and to look
    for them takes longer than everything else that is done to a picture: 13 of 17 ms on
    one of BCCD.

    Returns:
        The IoUs; none where most pictures have so small a box.
    """
    smallest = [
        sample.boxes[:, 2:].prod(axis=1).min() / math.prod(sample.size)
        for sample in data.train
        if sample.size and len(sample.boxes)
    ]
    found = not smallest or np.median(smallest) >= _CROP_OVERLAPS[0] * _LEAST_CROP
    return _CROP_OVERLAPS if found else ()


def _training_boxes(data: OwnData, size: Size) -> torch.Tensor:
    """Corners at the input's size, (N, 4), of at most :data:`_BOXES` boxes."""
    found = [np.zeros((0, 4))]
    for sample in data.train:
        if len(sample.boxes) and sample.size:
            scale = np.divide(size, sample.size)
            boxes = sample.boxes[~sample.ignored] * np.tile(scale, 2)
            boxes[:, 2:] += boxes[:, :2]
            found.append(boxes)
    boxes = np.concatenate(found)
    return torch.from_numpy(boxes[:: len(boxes) // _BOXES + 1]).float()


def _fraction_with_anchor(
    boxes: torch.Tensor, size: Size, min_scale: float = 0.2
) -> float:
    generator = SSDLiteAnchorGenerator(input_size=tuple(size), min_scale=min_scale)
    maps = [
        (math.ceil(size.height / stride), math.ceil(size.width / stride))
        for stride in _STRIDES
    ]
    anchors = torch.cat(generator.grid_priors(maps, device='cpu'))
    best = box_iou(boxes, anchors).max(dim=1).values
    return float((best >= _ASSIGNED_IOU).float().mean())
