"""Draws what is to be found in a picture."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torchvision.utils import draw_bounding_boxes, draw_segmentation_masks

from mmnv3.deploy.drawing import Colour
from mmnv3.legend import add_legend


def draw_truth(
    rgb: np.ndarray,
    labels: np.ndarray,
    classes: Sequence[str],
    palette: Sequence[Colour],
    boxes: np.ndarray | None = None,
    mask: np.ndarray | None = None,
) -> np.ndarray:
    """Draws boxes or a mask into a picture, and a legend below it.

    Args:
        rgb: The picture, (H, W, 3) uint8, RGB.
        labels: Of the boxes, or of the picture, (N,) int.
        classes: Names.
        palette: Colours, RGB.
        boxes: Left, top, right, bottom in pixels, (N, 4).
        mask: Numbers of classes, (H, W); what is none of them stays as it is.

    Returns:
        The same kind of picture, higher by its legend.
    """
    planes = torch.from_numpy(rgb.transpose(2, 0, 1).copy())
    if mask is not None:
        present = np.unique(mask)
        labels = present[(present >= 0) & (present < len(classes))]
        if len(labels):
            planes = draw_segmentation_masks(
                planes,
                torch.from_numpy(mask == labels[:, None, None]),
                alpha=0.5,
                colors=[tuple(palette[label]) for label in labels],
            )
    elif boxes is not None and len(boxes):
        boxes = boxes.astype(np.float32)
        # One of which rounding leaves no pixel is drawn, too.
        boxes[:, 2:] = np.maximum(boxes[:, 2:], boxes[:, :2])
        planes = draw_bounding_boxes(
            planes,
            torch.from_numpy(boxes),
            colors=[tuple(palette[label]) for label in labels],
            width=max(1, max(rgb.shape) // 200),
        )
    drawn = planes.permute(1, 2, 0).numpy()
    entries = {classes[label]: palette[label] for label in np.unique(labels)}
    return add_legend(
        drawn, {k: tuple(v) for k, v in entries.items()} or {'–': (255,) * 3}
    )
