"""Non-maximum suppression, which models and exported files share."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import cv2
import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F
from torchvision import ops

from mmnv3.size import Size

# Candidates sorted and decoded at first, as a multiple of the detections wanted, and
# the growth of their number where that is too few. Trained detectors mostly need two to
# four times; where there are few classes, cluttered pictures fill the list with boxes
# of the same objects, and ten times.
_POOL = 4
_POOL_OF_FEW_CLASSES = 16
_FEW_CLASSES = 4

# Pixels. Beside what reaches out further, others would lose their digits.
_FARTHEST = 2.0**20

# Candidates that are suppressed at first, as a multiple of the detections wanted, and
# the least of a later block.
_FIRST = 1.5
_LEAST = 32

# OpenCV rounds overlaps to single precision, and those that are equal to a threshold do
# not pass it.
_ROUNDING = 2.0**-23


def suppression(test_cfg: Mapping, window: Size) -> dict[str, Any]:
    """What a head's ``test_cfg`` says to the functions of this module.

    Args:
        test_cfg: With plain ``nms``; see :class:`mmnv3.models.ssdlite.SSDLiteHead`.
        window: What boxes are clipped to, where that comes afterwards.
    """
    return dict(
        iou_threshold=test_cfg['nms']['iou_threshold'],
        score_threshold=test_cfg.get('score_thr', 0.0),
        max_num=test_cfg['max_per_img'],
        per_class=test_cfg.get('nms_pre_per_class', -1),
        window=window if test_cfg.get('clip_after_nms', False) else None,
    )


def progressive_nms(
    scores: Tensor,
    decode: Callable[[Tensor], Tensor],
    *,
    window: Size | None = None,
    **settings: Any,
) -> tuple[Tensor, Tensor, Tensor]:
    """Detections of one image, by :func:`first_survivors`.

    All but the choice of candidates is done by the CPU, wherever the scores are.

    Args:
        scores: Of every anchor and class, (N, C).
        decode: Gives the boxes, (K, 4), of anchors by their indices, (K,).
        window: See :func:`first_survivors`.
        **settings: Its other settings.

    Returns:
        Boxes (M, 4), scores (M,) falling, and classes (M,). Of equal scores the lower
        class comes first, and in it the earlier anchor.
    """
    num_classes = scores.size(1)
    flat = scores.detach().flatten()
    if flat.dtype not in (torch.float32, torch.float64):
        flat = flat.float()  # NumPy knows no bfloat16.
    there = partial(flat.new_tensor, dtype=torch.long)
    survivors = first_survivors(
        partial(_highest, flat.numpy(), num_classes)
        if flat.device.type == 'cpu'
        else partial(_highest_there, flat),
        lambda anchors: decode(there(anchors)).detach().cpu().double().numpy(),
        num_classes,
        window=window,
        **settings,
    )
    index = there(survivors)
    boxes = decode(index // num_classes)
    if window is not None:
        boxes = clip_boxes(boxes, window)
    return boxes, flat[index], index % num_classes


def array_nms(
    boxes: np.ndarray,
    scores: np.ndarray,
    *,
    window: Size | None = None,
    **settings: Any,
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """What :func:`progressive_nms` does, of arrays.

    Args:
        boxes: Of every anchor, (N, 4).
        scores: Of every anchor and class, (N, C).
        window: See :func:`first_survivors`.
        **settings: Its other settings.

    Returns:
        Boxes (M, 4), scores (M,) and classes (M,), in the order of
        :func:`progressive_nms`.
    """
    num_classes = scores.shape[1]
    values = scores.reshape(-1)
    survivors = first_survivors(
        partial(_highest, values, num_classes),
        boxes.__getitem__,
        num_classes,
        window=window,
        **settings,
    )
    found = boxes[survivors // num_classes]
    if window is not None:
        found = _clip(found, window)
    return found, values[survivors], survivors % num_classes


def first_survivors(
    highest: Callable[[int, float], tuple[np.ndarray, np.ndarray, bool]],
    decode: Callable[[np.ndarray], np.ndarray],
    num_classes: int,
    *,
    iou_threshold: float,
    score_threshold: float,
    max_num: int,
    per_class: int = -1,
    window: Size | None = None,
) -> np.ndarray:
    """The best detections of one image, by suppression that stops when it has enough.

    Greedy suppression visits candidates by falling score, and a candidate never affects
    one that scored higher. So the best ``max_num`` detections follow from a prefix of
    the sorted candidates, and the prefix can be tried short and lengthened only where
    it does not suffice. The result is that of suppressing all candidates class by
    class, at a cost that depends neither on the number of classes nor on how many
    candidates pass the threshold. Candidates whose score or box is not a number, as
    those of a network that diverged, pass no threshold.

    Two lengths grow. The pool is what is sorted and decoded, a few operations on
    everything at once; the prefix is what is suppressed, where the pairs count. That is
    OpenCV's work, and the rest NumPy's: after a network, whose weights have displaced
    all else from the processor's caches, their functions take a quarter of the time of
    PyTorch's.

    Args:
        highest: Finds at least so many of the scores that come first, or all that are
            more than a threshold: their places (``anchor * num_classes + class``), in
            any order, the scores, and whether they are all.
        decode: Gives the boxes, (K, 4), of anchors by their indices, (K,).
        num_classes: Classes of each anchor.
        iou_threshold: A box is dropped when it overlaps a better one of its class by
            more than this.
        score_threshold: Candidates score more than this.
        max_num: Most detections.
        per_class: Most candidates of one class, the best; -1 for no limit.
        window: Boxes are clipped to it after suppression, and those of which nothing
            is left suppress others but are no detections: the order of the Object
            Detection API's ``batch_multiclass_non_max_suppression``. None leaves them
            as they were decoded.

    Returns:
        Their places, by falling score; of equal ones the lower class comes first, and
        in it the earlier anchor.
    """
    size = max_num * (_POOL if num_classes > _FEW_CLASSES else _POOL_OF_FEW_CLASSES)
    while True:
        places, scores, complete = highest(size, score_threshold)
        places = places[_ranked(scores, places, num_classes)]
        labels = places % num_classes
        if per_class > 0:
            first = _rank_within(labels) < per_class
            places, labels = places[first], labels[first]
        boxes = decode(places // num_classes).astype(np.float64)
        if not np.abs(boxes).max(initial=0) < _FARTHEST:
            whole = ~np.isnan(boxes).any(1)
            places, labels, boxes = places[whole], labels[whole], boxes[whole]
            boxes = np.clip(boxes, -_FARTHEST, _FARTHEST)
        keep = _survivors(boxes, labels, window, iou_threshold, max_num)
        if len(keep) == max_num or complete:
            return places[keep]
        size *= _POOL


def _highest(
    values: np.ndarray, num_classes: int, size: int, threshold: float
) -> tuple[np.ndarray, np.ndarray, bool]:
    """Finds the scores that come first; see :func:`first_survivors`.

    Args:
        values: Of all anchors and classes, (N * C,).
        num_classes: C.
        size: How many are wanted.
        threshold: They are more than this.

    Returns:
        Places, in any order, of the scores that come first, at least ``size`` of them
        or all that pass the threshold; the scores; and whether they are all. None is
        NaN. Of equal ones the lower class comes first, and in it the earlier anchor.
    """
    # A limit is guessed from a sample: comparing all with it takes a tenth of the time
    # that ranking them does.
    limit = _guess_limit(values, num_classes, size)
    complete = limit <= threshold
    above = np.flatnonzero(values > (threshold if complete else limit))
    if not complete and len(above) < size:
        # Many may be equal to it, as all are of a network that has learnt nothing.
        equal = _first_equal(values, num_classes, limit, size - len(above))
        above = np.concatenate([above, equal])
        if len(above) < size:
            return _highest(values, num_classes, _POOL * size, threshold)
    return above, values[above], complete


def _highest_there(
    scores: Tensor, size: int, threshold: float
) -> tuple[np.ndarray, np.ndarray, bool]:
    """Does what :func:`_highest` does on the device where scores are, (N * C,).

    Of equal ones any may come first.
    """
    size = min(size, len(scores))
    # Of nothing there is no highest.
    best, places = scores.masked_fill(scores.isnan(), -math.inf).topk(size)
    passing = int((best > threshold).sum())
    return (
        places[:passing].cpu().numpy(),
        best[:passing].cpu().numpy(),
        passing < size or size == len(scores),
    )


def _first_equal(
    values: np.ndarray, num_classes: int, limit: float, count: int
) -> np.ndarray:
    """Indices of the first scores that are equal to a limit, class by class."""
    found = [np.zeros(0, np.int64)]
    for label in range(num_classes):
        found.append(np.flatnonzero(values[label::num_classes] == limit)[:count])
        found[-1] = found[-1] * num_classes + label
        count -= len(found[-1])
        if not count:
            break
    return np.concatenate(found)


# Scores of a sample, and what is added to the rank that a limit should have in it: a
# guess that is too low costs the sorting of some more, one that is too high a second.
_SAMPLE = 2500
_MARGIN_FACTOR, _MARGIN = 1.5, 3


def _guess_limit(values: np.ndarray, num_classes: int, size: int) -> float:
    """A score that about ``size`` others are above; -inf where there are few."""
    step = len(values) // _SAMPLE + 1
    while math.gcd(step, num_classes) > 1:  # All classes take part.
        step += 1
    sample = np.sort(values[::step])
    if len(sample) and math.isnan(sample[-1]):
        sample = sample[~np.isnan(sample)]
    rank = math.ceil(_MARGIN_FACTOR * size / step) + _MARGIN
    return float(sample[-rank]) if step > 1 and rank < len(sample) else -math.inf


def _ranked(scores: np.ndarray, places: np.ndarray, num_classes: int) -> np.ndarray:
    """The order by falling score; of equal ones by class, and in it by anchor."""
    order = np.argsort(-scores)
    ordered = scores[order]
    if (ordered[1:] == ordered[:-1]).any():
        order = np.lexsort((places // num_classes, places % num_classes, -scores))
    return order


def _survivors(
    boxes: np.ndarray,
    labels: np.ndarray,
    window: Size | None,
    iou_threshold: float,
    max_num: int,
) -> np.ndarray:
    """The first ``max_num`` detections.

    Args:
        boxes: Not clipped, (K, 4) float64, by falling score.
        labels: Their classes, (K,).
        window: Of a detection something is left when it is clipped to it.
        iou_threshold: See :func:`first_survivors`.
        max_num: The same.

    Returns:
        Indices, rising.
    """
    wanted = max_num
    while True:
        keep = _class_nms(boxes, labels, iou_threshold, wanted)
        if window is None:
            return keep
        corners = _clip(boxes[keep], window)
        left = (corners[:, 2:] > corners[:, :2]).all(1)
        if wanted > max_num:  # As many of one class as of all.
            left &= _rank_within(labels[keep]) < max_num
        found = keep[left]
        if len(found) >= max_num or len(keep) < wanted:
            return found[:max_num]
        wanted += max_num


def _clip(boxes: np.ndarray, window: Size) -> np.ndarray:
    """Does what :func:`clip_boxes` does with an array."""
    limits = np.array([*window, *window], boxes.dtype)
    return np.minimum(np.maximum(boxes, 0), limits)


def clip_boxes(boxes: Tensor, window: Size) -> Tensor:
    """Cuts off what reaches out of a window, (N, 4) as x1, y1, x2, y2."""
    limits = boxes.new_tensor([*window, *window])
    return boxes.clamp(min=0).minimum(limits)


def _near(boxes: Tensor, window: Size) -> Tensor:
    """As far as boxes are within eight times a window's size around it."""
    reach = 8 * max(window)
    return boxes.clamp(-reach, reach + max(window))


def has_area(boxes: Tensor) -> Tensor:
    """Whether boxes, (N, 4), are wider and higher than nothing, (N,)."""
    return (boxes[:, 2:] > boxes[:, :2]).all(1)


def _class_nms(
    boxes: np.ndarray, labels: np.ndarray, iou_threshold: float, max_num: int
) -> np.ndarray:
    """The first ``max_num`` survivors of suppression within each class.

    Args:
        boxes: (K, 4) float64, by falling score.
        labels: Their classes, (K,).
        iou_threshold: See :func:`first_survivors`.
        max_num: The same.

    Returns:
        Indices, rising.
    """
    # As corner and sides, and none left of nothing: OpenCV moves every class to the
    # right of those before it.
    rectangles = boxes - boxes.min(initial=0)
    rectangles[:, 2:] -= rectangles[:, :2]
    # Boxes without area overlap none, where it takes any two of them for equal.
    flat = ~(rectangles[:, 2:] > 0).all(1)
    if flat.any():
        rectangles[flat, 2:] = 1
        labels = labels.copy()
        labels[flat] = labels.max() + 1 + np.arange(flat.sum())
    order = np.arange(len(boxes), 0, -1).astype(np.float32)
    keep = np.zeros(0, np.int64)
    begin, block = 0, _FIRST * max_num
    while begin < len(boxes) and len(keep) < max_num:
        end = min(begin + math.ceil(max(block, _LEAST)), len(boxes))
        tried = np.concatenate([keep, np.arange(begin, end)])
        found = cv2.dnn.NMSBoxesBatched(
            rectangles[tried],
            order[tried],
            labels[tried],
            score_threshold=0,
            nms_threshold=iou_threshold + _ROUNDING,
        )
        keep = tried[np.asarray(found, np.int64)]
        # What suffices if as many survive as before, and a little more.
        begin, block = end, 1.1 * end * (max_num - len(keep)) / len(keep)
    return keep[:max_num]


def _rank_within(groups: np.ndarray) -> np.ndarray:
    """How many earlier elements share an element's group."""
    order = np.argsort(groups, kind='stable')
    ordered = groups[order]
    ranks = np.empty_like(order)
    ranks[order] = np.arange(len(groups)) - np.searchsorted(ordered, ordered)
    return ranks


# Candidates that are tried, as a multiple of the detections wanted. A graph cannot
# lengthen its list as `progressive_nms` does; trained detectors need two to four times,
# and cluttered pictures with few classes ten.
CANDIDATES = 10


def static_nms(
    boxes: Tensor,
    scores: Tensor,
    *,
    iou_threshold: float,
    score_threshold: float,
    max_num: int,
    per_class: int = -1,
    window: Size | None = None,
) -> tuple[Tensor, Tensor, Tensor]:
    """Class-wise suppression of one picture's best candidates.

    Args:
        boxes: Of every anchor, (A, 4).
        scores: Of every anchor and class, (A, C).
        iou_threshold: A box is dropped when it overlaps a better one of its class by
            more than this.
        score_threshold: Detections score more than this.
        max_num: Detections; :data:`CANDIDATES` times as many candidates are tried.
        per_class: Most candidates of one class, the best; -1 for no limit.
        window: See :func:`progressive_nms`.

    Returns:
        Boxes (1, max_num, 4), scores (1, max_num) falling, and classes (1, max_num)
        int32. Where a picture has fewer detections the rest scores 0.
    """
    num_classes = scores.shape[1]
    flat = scores.flatten()
    best, picked = flat.topk(min(CANDIDATES * max_num, flat.numel()))
    labels, anchors = picked % num_classes, picked // num_classes
    passes = best > score_threshold
    if per_class > 0:
        members = F.one_hot(labels, num_classes)
        passes &= (members.cumsum(0) * members).sum(1) <= per_class
    best = torch.where(passes, best, 0)
    candidates = boxes[anchors]
    # Every class is moved to a place of its own. What fails the threshold comes last,
    # and so suppresses nothing that passes.
    # In a square, since single precision loses a digit for every tenfold distance.
    side = math.ceil(math.sqrt(num_classes))
    near = candidates if window is None else _near(candidates, window)
    spread = near.max() - near.min() + 1
    places = torch.stack([labels % side, labels // side], 1) * spread
    # The row of zeros stands for detections that there are not. So do two boxes of
    # their own apart from all, since a graph of torch.export takes no fewer survivors.
    missing = best.new_zeros(1)
    absent = best.numel()
    apart = near.min() - best.new_tensor([[3, 3, 2, 2], [6, 6, 5, 5]])
    keep = ops.nms(
        torch.cat([near + places.repeat(1, 2), apart]),
        torch.cat([best, best.new_full((2,), -1)]),
        iou_threshold,
    ).clamp(max=absent)
    if window is not None:
        candidates = clip_boxes(candidates, window)
        best = torch.where(has_area(candidates), best, 0)
        # Again by their scores, those of which nothing is left at the end.
        keep = F.pad(keep, (0, absent), value=absent)[:absent]
        order = torch.cat([best, missing])[keep].topk(min(max_num, absent)).indices
        keep = keep[order]
    keep = F.pad(keep, (0, max_num), value=absent)[:max_num]
    return (
        torch.cat([candidates, candidates.new_zeros(1, 4)])[keep][None],
        torch.cat([best, missing])[keep][None],
        torch.cat([labels, missing.to(labels)])[keep][None].int(),
    )
