"""From a model's outputs to what it says about pictures."""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import cv2
import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from mmnv3.deploy.info import TOP, ModelInfo
from mmnv3.errors import NotFiniteError, Remark
from mmnv3.models.nms import array_nms
from mmnv3.size import Size
from mmnv3.tasks import CLASSIFICATION, DETECTION, SEGMENTATION


@dataclass(frozen=True)
class Detections:
    """What a detector found in a picture, the best first.

    Attributes:
        boxes: x1 y1 x2 y2 in pixels of the picture, (N, 4) float32.
        scores: Probabilities, (N,) float32, falling.
        labels: Indices of classes, (N,) int64.
        classes: Names of all classes.
    """

    boxes: np.ndarray
    scores: np.ndarray
    labels: np.ndarray
    classes: tuple[str, ...]


@dataclass(frozen=True)
class Segmentation:
    """The class of every pixel of a picture.

    Attributes:
        mask: Indices of classes, (H, W) uint8.
        classes: Names of all classes.
    """

    mask: np.ndarray
    classes: tuple[str, ...]


@dataclass(frozen=True)
class Classification:
    """The best classes of a picture, the best first.

    Attributes:
        scores: Probabilities, (K,) float32, falling; K is 5 where there are so many.
        labels: Indices of classes, (K,) int64.
        classes: Names of all classes.
    """

    scores: np.ndarray
    labels: np.ndarray
    classes: tuple[str, ...]


Result = Detections | Segmentation | Classification


def finish(
    outputs: dict[str, np.ndarray],
    info: ModelInfo,
    sizes: Sequence[tuple[int, int]],
) -> list[Result]:
    """Turns the outputs of a batch into results.

    Args:
        outputs: What a :class:`mmnv3.deploy.runtime.Runtime` returns.
        info: Its description.
        sizes: Pixels of the pictures, (width, height); as many as there are results,
            which may be fewer than the batch has places.

    Raises:
        NotFiniteError: When a segmenter or a classifier gives NaN. Detections of NaN
            are none, with a remark.
    """
    finishers: dict[str, Callable[[dict, ModelInfo, Size], Result]] = {
        DETECTION: _detections,
        SEGMENTATION: _segmentation,
        CLASSIFICATION: _classification,
    }
    finish_one = finishers[info.task]
    # What is left in places without a picture means nothing.
    outputs = {name: values[: len(sizes)] for name, values in outputs.items()}
    outputs = _without_nan(outputs, info)
    return [
        finish_one(
            {name: values[index] for name, values in outputs.items()}, info, Size(*size)
        )
        for index, size in enumerate(sizes)
    ]


def _is_sick(name: str, values: np.ndarray) -> bool:
    """Whether an output holds NaN, or what a graph that chooses says in its place."""
    if name == 'mask':
        return bool((values < 0).any())
    # Quicker than to ask each: of numbers with NaN the least is NaN.
    return values.dtype.kind == 'f' and bool(values.size) and math.isnan(values.min())


def _without_nan(
    outputs: dict[str, np.ndarray], info: ModelInfo
) -> dict[str, np.ndarray]:
    """Outputs in which a box or a score that is no number is none, with a remark.

    Raises:
        NotFiniteError: Of masks and classes, of which there always is a best one.
    """
    if not any(_is_sick(*output) for output in outputs.items()):
        return outputs
    reason = 'its weights are damaged, or its training failed'
    if info.task != DETECTION:
        raise NotFiniteError(
            f'the network gives NaN for a picture; {reason}: use an earlier checkpoint'
        )
    warnings.warn(
        f'the network gives NaN instead of scores, which count as nothing; {reason}',
        Remark,
        stacklevel=3,
    )
    known = ~np.isnan(outputs['boxes']).any(-1)
    if not info.postprocessed:
        known = known[..., None]
    scores = np.where(known, np.nan_to_num(outputs['scores']), np.float32(0))
    return {**outputs, 'boxes': np.nan_to_num(outputs['boxes']), 'scores': scores}


def _detections(
    outputs: dict[str, np.ndarray], info: ModelInfo, size: Size
) -> Detections:
    boxes, scores = outputs['boxes'], outputs['scores']
    if info.postprocessed:
        found = scores > info.score_threshold
        boxes, scores, labels = boxes[found], scores[found], outputs['labels'][found]
        labels = labels.astype(np.int64)
    else:
        boxes, scores, labels = array_nms(boxes, scores, **info.suppression)
    if not info.clip_after_nms:  # What is clipped is finite.
        finite = np.isfinite(boxes).all(1)
        boxes, scores, labels = boxes[finite], scores[finite], labels[finite]
    if not info.takes_pictures:
        content = info.content_size(size)
        across, down = content.width / size.width, content.height / size.height
        boxes = boxes / np.array([across, down, across, down], np.float32)
    return Detections(boxes, scores, labels, info.classes)


def _segmentation(
    outputs: dict[str, np.ndarray], info: ModelInfo, size: Size
) -> Segmentation:
    if info.takes_pictures:
        mask = outputs['mask']
    elif info.postprocessed:
        width, height = info.content_size(size)
        mask = outputs['mask'][:height, :width]
    else:
        mask = best_classes(picture_logits(outputs['logits'], info, size), info).numpy()
    mask = mask.astype(np.uint8)
    if mask.shape != size[::-1]:
        # Of what is stretched only the class is left.
        mask = cv2.resize(mask, size, interpolation=cv2.INTER_NEAREST)
    return Segmentation(mask, info.classes)


def picture_logits(logits: np.ndarray, info: ModelInfo, size: Size) -> Tensor:
    """A segmenter's logits for the pixels of a picture, as mmseg has them.

    Args:
        logits: (C, H, W) of the input.
        info: The model's description.
        size: Of the picture.

    Returns:
        Float32, (C, H, W) of the picture; of what it fills of the input where files of
        0.1 do not say how to interpolate.
    """
    width, height = info.content_size(size)
    found = torch.from_numpy(logits)[:, :height, :width]
    if info.align_corners is None or (width, height) == size:
        return found
    return F.interpolate(
        found[None], size[::-1], mode='bilinear', align_corners=info.align_corners
    )[0]


def best_classes(logits: Tensor, info: ModelInfo) -> Tensor:
    """The class of every pixel, (H, W), by logits, (C, H, W)."""
    if info.mask_threshold is None:
        return logits.argmax(0)
    return (logits[0].sigmoid() > info.mask_threshold).long()


def _classification(
    outputs: dict[str, np.ndarray], info: ModelInfo, size: Size
) -> Classification:
    if info.takes_pictures:
        return Classification(
            outputs['scores'], outputs['labels'].astype(np.int64), info.classes
        )
    scores = class_scores(outputs, info)
    best, labels = scores.topk(min(TOP, len(scores)))
    return Classification(best.numpy(), labels.numpy(), info.classes)


def class_scores(outputs: Mapping[str, np.ndarray], info: ModelInfo) -> Tensor:
    """A classifier's probabilities of every class, (…, C), by its outputs.

    Of those that a file does not name they are 0.
    """
    if info.takes_pictures:
        best, labels = (torch.from_numpy(outputs[name]) for name in info.outputs)
        every = best.new_zeros(*best.shape[:-1], len(info.classes))
        return every.scatter(-1, labels.long(), best)
    if info.postprocessed:
        return torch.from_numpy(outputs['scores'])
    return torch.from_numpy(outputs['logits']).softmax(-1)
