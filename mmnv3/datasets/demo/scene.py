"""One drawn picture with its boxes, labels and masks."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np

from mmnv3.datasets.demo.layout import place_shapes
from mmnv3.datasets.demo.painting import Light, develop, paint_backdrop, paint_shape
from mmnv3.datasets.demo.shapes import Shape
from mmnv3.errors import UserError

MIN_SIZE, MAX_SIZE = 64, 2048


@dataclass(frozen=True)
class Scene:
    """A picture and the truth about it, objects from back to front.

    Args:
        image: uint8 of shape (size, size, 3), BGR as OpenCV reads it.
        boxes: int64 of shape (objects, 4): x0, y0, x1, y1 in pixels around what
            is seen, x1 and y1 exclusive.
        labels: int64 of shape (objects,), indices into ``CLASSES``.
        masks: bool of shape (objects, size, size): the pixels seen, disjoint.
        shapes: The outlines that were drawn, hidden parts included.
    """

    image: np.ndarray
    boxes: np.ndarray
    labels: np.ndarray
    masks: np.ndarray
    shapes: tuple[Shape, ...]

    def semantic_map(self) -> np.ndarray:
        """Index into ``SEGMENTATION_CLASSES`` per pixel, uint8 of (size, size)."""
        values = (self.labels + 1).astype(np.uint8)
        return (self.masks * values[:, None, None]).max(axis=0)


def draw_scene(rng: np.random.Generator, size: int = 320) -> Scene:
    """Draw one picture.

    Args:
        rng: Source of everything random: the same state gives the same picture.
        size: Side of the square picture in pixels, 64 to 2048.

    Raises:
        UserError: If ``size`` is out of range.
    """
    check_size(size)
    shapes, masks = place_shapes(rng, size)
    light = Light.random(rng)
    canvas = paint_backdrop(rng, size, light)
    for shape in shapes:
        paint_shape(rng, canvas, shape, light)
    return Scene(
        image=develop(rng, canvas, size),
        boxes=np.array([tight_box(mask) for mask in masks]),
        labels=np.array([shape.label for shape in shapes]),
        masks=masks,
        shapes=shapes,
    )


def check_size(size: int) -> None:
    """Raise a UserError unless pictures of this side can be drawn."""
    if not MIN_SIZE <= size <= MAX_SIZE:
        raise UserError(f'size={size}: choose {MIN_SIZE} to {MAX_SIZE} pixels')


def tight_box(mask: np.ndarray) -> tuple[int, int, int, int]:
    """(x0, y0, x1, y1) around the true pixels of a mask, x1 and y1 exclusive."""
    x, y, width, height = cv2.boundingRect(mask.astype(np.uint8))
    return x, y, x + width, y + height
