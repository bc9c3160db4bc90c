"""Suppression with shapes that do not depend on the picture, for exported graphs."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F
from torchvision.ops import nms

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
) -> tuple[Tensor, Tensor, Tensor]:
    """Class-wise suppression of one picture's best candidates.

    Args:
        boxes: Of every anchor, (A, 4), from 0 on.
        scores: Of every anchor and class, (A, C).
        iou_threshold: A box is dropped when it overlaps a better one of its class by
            more than this.
        score_threshold: Detections score more than this.
        max_num: Detections; :data:`CANDIDATES` times as many candidates are tried.
        per_class: Most candidates of one class, the best; -1 for no limit.

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
    apart = candidates + (labels * (boxes.max() + 1)).unsqueeze(1)
    keep = nms(apart, best, iou_threshold)
    # The row of zeros stands for detections that there are not.
    missing = best.new_zeros(1)
    keep = F.pad(keep, (0, max_num), value=best.numel())[:max_num]
    return (
        torch.cat([candidates, candidates.new_zeros(1, 4)])[keep][None],
        torch.cat([best, missing])[keep][None],
        torch.cat([labels, missing.to(labels)])[keep][None].int(),
    )
