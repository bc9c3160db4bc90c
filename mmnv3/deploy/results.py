"""From a model's outputs to what it says about pictures."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
import torch

from mmnv3.deploy.info import CLASSIFICATION, DETECTION, ModelInfo
from mmnv3.models.nms import progressive_nms

# Classes that a classifier names, the best.
_TOP = 5


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


@torch.inference_mode()
def finish(
    outputs: dict[str, np.ndarray],
    info: ModelInfo,
    sizes: list[tuple[int, int]],
) -> list[Result]:
    """Turns the outputs of a batch into results.

    Args:
        outputs: What a :class:`mmnv3.deploy.runtime.Runtime` returns.
        info: Its description.
        sizes: Pixels of the pictures, (width, height); as many as there are results,
            which may be fewer than the batch has places.
    """
    finish_one = {DETECTION: _detections, CLASSIFICATION: _classification}.get(
        info.task, _segmentation
    )
    return [
        finish_one(
            {name: values[index] for name, values in outputs.items()}, info, size
        )
        for index, size in enumerate(sizes)
    ]


def _detections(
    outputs: dict[str, np.ndarray], info: ModelInfo, size: tuple[int, int]
) -> Detections:
    boxes, scores = outputs['boxes'], outputs['scores']
    if info.postprocessed:
        found = scores > info.score_threshold
        boxes, scores, labels = boxes[found], scores[found], outputs['labels'][found]
        labels = labels.astype(np.int64)
    else:
        every_box = torch.from_numpy(boxes)
        boxes, scores, labels = (
            part.numpy()
            for part in progressive_nms(
                torch.from_numpy(scores),
                lambda anchors: every_box[anchors],
                iou_threshold=info.iou_threshold,
                score_threshold=info.score_threshold,
                max_num=info.max_detections,
                per_class=info.max_per_class,
            )
        )
    x, y = size[0] / info.size[0], size[1] / info.size[1]
    boxes = boxes * np.array([x, y, x, y], np.float32)
    return Detections(boxes, scores, labels, info.classes)


def _segmentation(
    outputs: dict[str, np.ndarray], info: ModelInfo, size: tuple[int, int]
) -> Segmentation:
    if info.postprocessed:
        mask = outputs['mask']
    else:
        mask = torch.from_numpy(outputs['logits']).argmax(0).numpy()
    mask = mask.astype(np.uint8)
    if mask.shape != size[::-1]:
        mask = cv2.resize(mask, size, interpolation=cv2.INTER_NEAREST)
    return Segmentation(mask, info.classes)


def _classification(
    outputs: dict[str, np.ndarray], info: ModelInfo, size: tuple[int, int]
) -> Classification:
    if info.postprocessed:
        scores = torch.from_numpy(outputs['scores'])
    else:
        scores = torch.from_numpy(outputs['logits']).softmax(0)
    best, labels = scores.topk(min(_TOP, len(scores)))
    return Classification(best.numpy(), labels.numpy(), info.classes)
