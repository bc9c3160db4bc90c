"""Non-maximum suppression, which models and exported files share."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any

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
    everything at once; the prefix is what is suppressed, where the pairs count.

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
    total, num_classes = scores.numel(), scores.size(1)
    size = max_num * (_POOL if num_classes > _FEW_CLASSES else _POOL_OF_FEW_CLASSES)
    while True:
        size = min(size, total)
        best, anchors, labels = _highest(scores, size)
        # What is not a number ranks first.
        if size and math.isnan(best[0].item()):
            scores = scores.masked_fill(scores.isnan(), -math.inf)
            continue
        passing = size
        # Most often all pass, which one number tells sooner than all of them.
        if not size or best[-1].item() <= score_threshold:
            passing = int((best > score_threshold).sum())
            best, anchors, labels = best[:passing], anchors[:passing], labels[:passing]
        if 0 < per_class < passing:
            within = _rank_within(labels) < per_class
            best, labels, anchors = best[within], labels[within], anchors[within]
        if (best[1:] == best[:-1]).any():
            order = (labels * len(scores) + anchors).argsort()
            order = order[best[order].argsort(descending=True, stable=True)]
            best, labels, anchors = best[order], labels[order], anchors[order]
        boxes = decode(anchors)
        if passing and math.isnan(boxes.sum().item()):
            whole = ~boxes.isnan().any(1)
            boxes, best, labels = boxes[whole], best[whole], labels[whole]
        keep, boxes = _survivors(boxes, best, labels, iou_threshold, max_num, window)
        exhausted = passing < size or size == total
        if keep.numel() == max_num or exhausted:
            return boxes[keep], best[keep], labels[keep]
        size *= _POOL


def _survivors(
    boxes: Tensor,
    scores: Tensor,
    labels: Tensor,
    iou_threshold: float,
    max_num: int,
    window: Size | None,
) -> tuple[Tensor, Tensor]:
    """Indices of the first ``max_num`` detections, and the boxes as they are given."""
    if window is None:
        return _class_nms(boxes, scores, labels, iou_threshold, max_num), boxes
    clipped = clip_boxes(boxes, window)
    left = has_area(clipped)
    wanted = max_num
    while True:
        keep = _class_nms(boxes, scores, labels, iou_threshold, wanted)
        # As many of one class as of all.
        found = keep[left[keep] & (_rank_within(labels[keep]) < max_num)]
        if len(found) >= max_num or len(keep) < wanted:
            return found[:max_num], clipped
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


def _highest(scores: Tensor, size: int) -> tuple[Tensor, Tensor, Tensor]:
    """The highest scores, falling, with their anchors and classes.

    They are found among as many anchors, those of the highest maxima: whatever is left
    out has at least so many scores above it. A maximum is much cheaper than a rank.
    """
    num_anchors, num_classes = scores.shape
    within = None
    if size < num_anchors:
        within = scores.amax(1).topk(size, sorted=False).indices
        scores = scores[within]
    best, places = scores.flatten().topk(size)
    anchors = places // num_classes
    if within is not None:
        anchors = within[anchors]
    return best, anchors, places % num_classes


def _class_nms(
    boxes: Tensor, scores: Tensor, labels: Tensor, iou_threshold: float, max_num: int
) -> Tensor:
    """Indices of the first ``max_num`` survivors of one suppression for all classes.

    Each class is moved to a place of its own, in double precision, since the move would
    cost single precision the digits that decide overlaps close to the threshold. What
    survived a shorter prefix stands, and only what follows is tried against it.
    """
    if not boxes.numel():
        return labels
    if boxes.device.type == 'mps':
        # It has no double precision. There are a few hundred boxes.
        boxes, scores, labels = boxes.cpu(), scores.cpu(), labels.cpu()
    boxes, scores = boxes.double().clamp(-_FAR, _FAR), scores.double()
    low, high = boxes.aminmax()
    boxes = boxes + labels.unsqueeze(1) * (high - low + 1)
    end = min(2 * max_num, len(boxes))
    keep = nms(boxes[:end], scores[:end], iou_threshold)
    while len(keep) < max_num and end < len(boxes):
        # So far as suffices if as many survive as before, and a little further.
        begin, end = end, min(int(1.1 * end * max_num / len(keep)), len(boxes))
        tried = torch.cat([keep, torch.arange(begin, end, device=keep.device)])
        keep = tried[nms(boxes[tried], scores[tried], iou_threshold)]
    return keep[:max_num]


def _rank_within(groups: Tensor) -> Tensor:
    """How many earlier elements share an element's group."""
    order = groups.argsort(stable=True)
    ordered = groups[order]
    places = torch.arange(groups.numel(), device=groups.device)
    starts = torch.searchsorted(ordered, ordered)
    return torch.empty_like(places).scatter_(0, order, places - starts)


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
