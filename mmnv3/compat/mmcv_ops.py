"""The module that is imported as `mmcv._ext` (see `mmcv_ext.py`).

mmcv's Python side (`mmcv/ops/*.py`) fetches its compiled functions from here by name.
NMS works, on any device that torchvision supports; the others say what they need.
"""

from collections.abc import Callable
from typing import Any, NoReturn

import torch
from torchvision.ops import nms as torchvision_nms


def nms(
    bboxes: torch.Tensor, scores: torch.Tensor, iou_threshold: float, offset: int
) -> torch.Tensor:
    """Non-maximum suppression with the signature of mmcv's compiled operator.

    Args:
        bboxes: Corners (x1, y1, x2, y2) in pixels, shape (N, 4).
        scores: Shape (N,).
        iou_threshold: A box goes when its IoU with a better one is above this.
        offset: 0 or 1; widths and heights are x2 - x1 + offset, as in `mmcv.ops.nms`.

    Returns:
        Indices of the kept boxes by falling score, int64, shape (K,).
    """
    # Growing every box by the offset gives all areas and overlaps that mmcv computes
    # with it. mmcv computes in float32, and so takes half-precision boxes as well.
    corners = bboxes.float() + bboxes.new_tensor([0, 0, offset, offset]).float()
    return torchvision_nms(corners, scores.float(), iou_threshold)


def get_compiler_version() -> str:
    """Answers mmcv's environment report."""
    return 'none (NMS by torchvision, through mmnv3)'


def get_compiling_cuda_version() -> str:
    """Answers mmcv's environment report."""
    return 'not available'


def __getattr__(operator: str) -> Callable[..., NoReturn]:
    """Gives, for any other operator, a function that says what to install."""
    if operator.startswith('__'):
        raise AttributeError(f'module {__name__!r} has no attribute {operator!r}')

    def missing(*args: Any, **kwargs: Any) -> NoReturn:
        raise NotImplementedError(
            f'{operator!r} is a compiled operator of mmcv, and the installed mmcv has '
            'none: install `mmcv` (not `mmcv-lite`), or `onedl-mmcv` built beside '
            'PyTorch with `pip install --no-build-isolation onedl-mmcv`'
        )

    return missing
