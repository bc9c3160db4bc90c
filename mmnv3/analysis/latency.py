"""How long a detector takes for one picture, stage by stage."""

from __future__ import annotations

import time

import numpy as np
import torch
from torch import nn

from mmnv3.errors import UserError


@torch.no_grad()
def measure_detector(
    detector: nn.Module, picture: torch.Tensor, runs: int = 50, warmup: int = 5
) -> dict[str, np.ndarray]:
    """Times the stages of a single-stage mmdet detector, batch 1.

    Args:
        detector: In eval mode, on the CPU.
        picture: A normalised input, (1, 3, H, W).
        runs: Measured runs; the stages alternate within each.
        warmup: Runs before them that do not count.

    Returns:
        Milliseconds of every run, ``(runs,)``, by stage: ``'network'`` (backbone, neck
        and head) and ``'post-processing'`` (scores, decoding, suppression).

    Raises:
        UserError: When the model is not a single-stage detector.
    """
    if not (hasattr(detector, 'bbox_head') and hasattr(detector, 'extract_feat')):
        raise UserError(
            f'{type(detector).__name__} is not a single-stage detector, the only kind '
            'that is measured so far'
        )
    size = tuple(picture.shape[-2:])
    metas = [dict(img_shape=size, ori_shape=size, scale_factor=(1.0, 1.0))]
    times = []
    for _ in range(warmup + runs):
        begin = time.perf_counter()
        maps = detector.bbox_head(detector.extract_feat(picture))
        between = time.perf_counter()
        detector.bbox_head.predict_by_feat(*maps, batch_img_metas=metas, rescale=True)
        times.append((between - begin, time.perf_counter() - between))
    network, post = 1e3 * np.array(times[warmup:]).T
    return {'network': network, 'post-processing': post}
