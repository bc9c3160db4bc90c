"""Which shapes stand where, and which pixels of each are seen."""

from __future__ import annotations

import numpy as np

from mmnv3.datasets.demo.classes import CLASSES
from mmnv3.datasets.demo.shapes import FILL_EXCESS, Shape, coverage, make_shape, move

MAX_OBJECTS = 5
EXTENT = (0.18, 0.62)
"""Shortest and longest extent of an object, as parts of the picture's side."""
MIN_VISIBLE = 0.5
"""An object more than half hidden can hardly be told, even by a person."""

_TRIES = 12


def shape_mask(shape: Shape, size: int) -> np.ndarray:
    """Pixels of a ``size`` x ``size`` picture that a shape covers by half or more.

    Returns:
        bool of shape (size, size).
    """
    # Half a pixel, and what the raster adds to it.
    threshold = 255 * (0.5 + FILL_EXCESS)
    return coverage(shape.contours, size, size) >= threshold


def place_shapes(
    rng: np.random.Generator, size: int
) -> tuple[tuple[Shape, ...], np.ndarray]:
    """Lay one to five shapes over each other, the last one in front.

    A shape that would leave itself or one behind it less than ``MIN_VISIBLE`` of
    its full area is tried elsewhere, and left out if that fails. So every shape
    in the picture can be annotated, and no unnamed scrap remains.

    Args:
        rng: Source of everything random.
        size: Side of the square picture in pixels.

    Returns:
        The shapes from back to front, and the masks of what is seen of them,
        bool of shape (shapes, size, size).
    """
    shapes: list[Shape] = []
    masks: list[np.ndarray] = []
    for _ in range(rng.integers(1, MAX_OBJECTS + 1)):
        for _ in range(_TRIES):
            shape = _random_shape(rng, size)
            mask = shape_mask(shape, size)
            behind = [seen & ~mask for seen in masks]
            candidates = zip([*shapes, shape], [*behind, mask], strict=True)
            if all(m.sum() >= MIN_VISIBLE * s.area for s, m in candidates):
                shapes, masks = [*shapes, shape], [*behind, mask]
                break
    return tuple(shapes), np.stack(masks)


def _random_shape(rng: np.random.Generator, size: int) -> Shape:
    # Logarithmic, so that small and large objects are equally frequent.
    extent = size * np.exp(rng.uniform(*np.log(EXTENT)))
    shape = make_shape(rng, int(rng.integers(len(CLASSES))), extent)
    # At most a sixth of either side leaves the picture, which keeps a lone
    # shape above MIN_VISIBLE: the first one is therefore always accepted.
    margin = extent / 3
    return move(shape, rng.uniform(margin, size - margin, 2))
