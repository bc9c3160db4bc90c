"""From a picture to what an exported model takes."""

from __future__ import annotations

from functools import lru_cache

import cv2
import numpy as np

from mmnv3.deploy.info import ModelInfo


def prepare(
    picture: np.ndarray, info: ModelInfo, out: np.ndarray | None = None
) -> np.ndarray:
    """Resizes and normalises a picture as the config's test pipeline does.

    Args:
        picture: (H, W, 3) uint8, BGR.
        info: What the model takes.
        out: Where to write, as it is returned; fresh memory for None, which costs
            about as much again as the arithmetic.

    Returns:
        One picture of a batch, float32 of ``info.input_shape[1:]``.
    """
    planes = cv2.split(fit(picture, info.size, info.resize_edge))
    if info.channel_order == 'rgb':
        planes = planes[::-1]
    if out is None:
        out = np.empty(info.input_shape[1:], np.float32)
    # Plane by plane, since arithmetic over interleaved pixels that are transposed
    # afterwards takes 20 times as long; and a pixel has few values.
    for plane, table, place in zip(planes, _tables(info.mean, info.std), out):
        cv2.LUT(plane, table, dst=place)
    return out


@lru_cache(maxsize=8)
def _tables(mean: tuple[float, ...], std: tuple[float, ...]) -> np.ndarray:
    """What the pixels from 0 to 255 become in every channel, (C, 256) float32."""
    values = np.arange(256, dtype=np.float32)
    return (values - np.float32(mean)[:, None]) / np.float32(std)[:, None]


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
