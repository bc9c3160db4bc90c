"""Non-maximum suppression, which models and exported files share."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F
from torchvision import ops

from mmnv3.size import Size

# For eager use: torchvision.ops.nms checks a few things first, which costs as much as a
# short list.
nms = torch.ops.torchvision.nms.default

# Candidates sorted and decoded at first, as a multiple of the detections wanted, and
# the growth of their number where that is too few. Trained detectors mostly need two to
# four times; where there are few classes, cluttered pictures fill the list with boxes
# of the same objects, and ten times.
_POOL = 4
_POOL_OF_FEW_CLASSES = 16
_FEW_CLASSES = 4

# Candidates that are suppressed at first, as a multiple of the detections wanted. Pairs
# count: where all survive, this takes a third of the time of twice as many.
_FIRST = 1.25

# Pixels. Boxes that reach further out, which only a broken network's do, overlap as if
# they ended there: the digits of the others would not survive them.
_FAR = 1e6


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
    iou_threshold: float,
    score_threshold: float,
    max_num: int,
    per_class: int = -1,
    window: Size | None = None,
) -> tuple[Tensor, Tensor, Tensor]:
    """Detections of one image, by suppression that stops when it has enough.

    Greedy suppression visits candidates by falling score, and a candidate never affects
    one that scored higher. So the best ``max_num`` detections follow from a prefix of
    the sorted candidates, and the prefix can be tried short and lengthened only where
    it does not suffice. The result is that of suppressing all candidates class by
    class, at a cost that depends neither on the number of classes nor on how many
    candidates pass the threshold. Candidates whose score or box is not a number, as
    those of a network that diverged, pass no threshold.

    Two lengths grow. The pool is what is sorted and decoded, a few operations on
    everything at once; the prefix is what is suppressed, where the pairs count. All but
    the choice of the pool is done by the CPU, wherever the scores are.

    Args:
        scores: Of every anchor and class, (N, C).
        decode: Gives the boxes, (K, 4), of anchors by their indices, (K,).
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
        Boxes (M, 4), scores (M,) falling, and classes (M,). Of equal scores the lower
        class comes first, and in it the earlier anchor.
    """
    num_classes = scores.size(1)
    flat = scores.detach().flatten()
    if flat.dtype not in (torch.float32, torch.float64):
        flat = flat.float()  # NumPy knows no bfloat16.
    size = max_num * (_POOL if num_classes > _FEW_CLASSES else _POOL_OF_FEW_CLASSES)
    while True:
        index, complete = _highest(flat, num_classes, size, score_threshold)
        found = flat[index]
        places = index.cpu().numpy()
        labels, anchors = places % num_classes, places // num_classes
        # Sorted in NumPy, which takes a fifth of PyTorch's time for a few hundred.
        order = _ranked(found.cpu().numpy(), labels, anchors)
        if per_class > 0:
            order = order[_rank_within(labels[order]) < per_class]
        picked = torch.from_numpy(order)
        boxes = decode(index[picked] // num_classes)
        corners = boxes.detach().cpu().numpy().astype(np.float64)
        if np.isnan(corners.sum()):
            whole = np.flatnonzero(~np.isnan(corners).any(1))
            boxes, picked = boxes[torch.from_numpy(whole)], picked[whole]
            corners, order = corners[whole], order[whole]
        if window is None:
            keep = _class_nms(corners, labels[order], iou_threshold, max_num)
        else:
            boxes = clip_boxes(boxes, window)
            left = has_area(boxes).cpu().numpy()
            keep = _survivors(corners, labels[order], left, iou_threshold, max_num)
        if len(keep) == max_num or complete:
            kept = torch.from_numpy(keep)
            picked = picked[kept]
            return boxes[kept], found[picked], index[picked] % num_classes
        size *= _POOL


def _highest(
    scores: Tensor, num_classes: int, size: int, threshold: float
) -> tuple[Tensor, bool]:
    """Finds the scores that come first.

    Args:
        scores: Of all anchors and classes, (N * C,).
        num_classes: C.
        size: How many are wanted.
        threshold: They are more than this.

    Returns:
        Indices, in any order, of the scores that come first, at least ``size`` of them
        or all that pass the threshold; and whether they are all. None is NaN. Of equal
        ones the lower class comes first, and in it the earlier anchor (on another
        device than the CPU any).
    """
    if scores.device.type != 'cpu':
        scores = scores.masked_fill(scores.isnan(), -math.inf)
        size = min(size, len(scores))
        if not size:
            return scores.new_zeros(0, dtype=torch.long), True
        best, index = scores.topk(size)
        passing = int((best > threshold).sum())
        return index[:passing], passing < size or size == len(scores)
    # A limit is guessed from a sample: comparing all with it takes a tenth of the time
    # that ranking them does.
    values = scores.numpy()
    limit = _guess_limit(values, num_classes, size)
    if limit <= threshold:
        return torch.from_numpy(np.flatnonzero(values > threshold)), True
    above = np.flatnonzero(values > limit)
    if len(above) < size:
        # Many may be equal to it, as all are of a network that has learnt nothing.
        equal = _first_equal(values, num_classes, limit, size - len(above))
        above = np.concatenate([above, equal])
    if len(above) < size:
        return _highest(scores, num_classes, _POOL * size, threshold)
    return torch.from_numpy(above), False


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
    if len(sample) and np.isnan(sample[-1]):
        sample = sample[~np.isnan(sample)]
    rank = math.ceil(_MARGIN_FACTOR * size / step) + _MARGIN
    return float(sample[-rank]) if step > 1 and rank < len(sample) else -math.inf


def _ranked(scores: np.ndarray, labels: np.ndarray, anchors: np.ndarray) -> np.ndarray:
    """The order by falling score; of equal ones by class, and in it by anchor."""
    order = np.argsort(-scores, kind='stable')
    ordered = scores[order]
    if (ordered[1:] == ordered[:-1]).any():
        order = np.lexsort((anchors, labels, -scores))
    return order


def _survivors(
    boxes: np.ndarray,
    labels: np.ndarray,
    left: np.ndarray,
    iou_threshold: float,
    max_num: int,
) -> np.ndarray:
    """The first ``max_num`` detections, of which something is left when clipped.

    Args:
        boxes: Not clipped, (K, 4) float64, by falling score.
        labels: Their classes, (K,).
        left: Whether something is left of each, (K,).
        iou_threshold: See :func:`progressive_nms`.
        max_num: The same.

    Returns:
        Indices, rising.
    """
    wanted = max_num
    while True:
        keep = _class_nms(boxes, labels, iou_threshold, wanted)
        # As many of one class as of all.
        found = keep[left[keep] & (_rank_within(labels[keep]) < max_num)]
        if len(found) >= max_num or len(keep) < wanted:
            return found[:max_num]
        wanted += max_num


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
    """The first ``max_num`` survivors of one suppression for all classes.

    Each class is moved to a place of its own, in double precision, since the move would
    cost single precision the digits that decide overlaps close to the threshold. What
    survived a shorter prefix stands, and only what follows is tried against it.

    Args:
        boxes: (K, 4) float64, by falling score.
        labels: Their classes, (K,).
        iou_threshold: See :func:`progressive_nms`.
        max_num: The same.

    Returns:
        Indices, rising.
    """
    count = len(boxes)
    if not count:
        return np.zeros(0, np.int64)
    near = np.clip(boxes, -_FAR, _FAR)
    near += labels[:, None] * (near.max() - near.min() + 1)
    moved = torch.from_numpy(near)
    # They are in order already.
    falling = torch.arange(count, 0, -1, dtype=torch.float64)
    end = min(math.ceil(_FIRST * max_num), count)
    keep = nms(moved[:end], falling[:end], iou_threshold)
    while len(keep) < max_num and end < count:
        # So far as suffices if as many survive as before, and a little further.
        begin, end = end, min(math.ceil(1.1 * end * max_num / len(keep)), count)
        tried = torch.cat([keep, torch.arange(begin, end)])
        keep = tried[nms(moved[tried], falling[tried], iou_threshold)]
    return keep[:max_num].numpy()


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
