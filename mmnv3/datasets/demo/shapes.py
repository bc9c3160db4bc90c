"""Outlines of the classes, as polygons in the picture's continuous coordinates.

Coordinates have their origin at the outer corner of the first pixel, so that the
centre of that pixel lies at (0.5, 0.5).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import cv2
import numpy as np

from mmnv3.datasets.demo.classes import CLASSES

Contour = np.ndarray
"""Closed polygon, float64 of shape (points, 2), columns x and y."""

_SUBPIXEL_BITS = 6
_FINE = 4
FILL_EXCESS = 0.5 / _FINE
"""What ``coverage`` adds to a shape on every side, in pixels of its result.

OpenCV also fills the pixels that an outline merely passes: about half a pixel of
the finer raster.
"""
# Upright within 20 degrees, as most things stand: all poses of a shape would ask
# of a short training what it can hardly give.
_MAX_TURN = 0.35
# Foreshortening: how flat a shape may lie. Below 0.75 a square reads as a bar.
_SQUASH = (0.75, 1.0)


@dataclass(frozen=True)
class Shape:
    """A shape laid into a picture.

    Args:
        label: Index into ``CLASSES``.
        contours: Outer contour, then the contour of the hole if there is one.
        angle: Rotation in radians, which the shape's texture follows.
    """

    label: int
    contours: tuple[Contour, ...]
    angle: float

    @property
    def area(self) -> float:
        """Area in square pixels, whether inside the picture or not."""
        outer, *holes = (polygon_area(contour) for contour in self.contours)
        return outer - sum(holes)

    @property
    def bounds(self) -> tuple[float, float, float, float]:
        """(x0, y0, x1, y1) of the whole outline in pixels."""
        low, high = self.contours[0].min(axis=0), self.contours[0].max(axis=0)
        return float(low[0]), float(low[1]), float(high[0]), float(high[1])

    @property
    def extent(self) -> float:
        """The longer side of ``bounds`` in pixels."""
        x0, y0, x1, y1 = self.bounds
        return max(x1 - x0, y1 - y0)


def polygon_area(contour: Contour) -> float:
    """Area of a simple polygon by the shoelace formula, in square pixels."""
    x, y = contour.T
    return 0.5 * abs(float(x @ np.roll(y, -1) - y @ np.roll(x, -1)))


def _polar(radii: np.ndarray) -> Contour:
    turns = 2 * np.pi * np.arange(len(radii)) / len(radii)
    return np.stack([radii * np.sin(turns), -radii * np.cos(turns)], axis=1)


def _disc(rng: np.random.Generator) -> tuple[Contour, ...]:
    return (_polar(np.ones(72)),)


def _ring(rng: np.random.Generator) -> tuple[Contour, ...]:
    return _polar(np.ones(72)), _polar(np.full(72, rng.uniform(0.5, 0.65)))


def _square(rng: np.random.Generator) -> tuple[Contour, ...]:
    return (_polar(np.ones(4)) @ _rotation(np.pi / 4),)


def _triangle(rng: np.random.Generator) -> tuple[Contour, ...]:
    return (_polar(np.ones(3)),)


def _star(rng: np.random.Generator) -> tuple[Contour, ...]:
    return (_polar(np.tile([1.0, rng.uniform(0.4, 0.5)], 5)),)


def _cross(rng: np.random.Generator) -> tuple[Contour, ...]:
    arm = rng.uniform(0.28, 0.36)
    corner = np.array([[arm, -1.0], [arm, -arm], [1.0, -arm]])
    quarter = np.array([[0.0, 1.0], [-1.0, 0.0]])
    turns = (np.linalg.matrix_power(quarter, k) for k in range(4))
    return (np.concatenate([corner @ turn for turn in turns]),)


_OUTLINES: dict[str, Callable[[np.random.Generator], tuple[Contour, ...]]] = {
    'disc': _disc,
    'ring': _ring,
    'square': _square,
    'triangle': _triangle,
    'star': _star,
    'cross': _cross,
}


def make_shape(rng: np.random.Generator, label: int, extent: float) -> Shape:
    """Draw the outline of one class in a random pose around the origin.

    Args:
        rng: Source of the pose and of the class's own proportions.
        label: Index into ``CLASSES``.
        extent: Longer side of the outline's bounding box, in pixels.
    """
    contours = _OUTLINES[CLASSES[label]](rng)
    angle = rng.uniform(-_MAX_TURN, _MAX_TURN)
    tilt = rng.uniform(-np.pi, np.pi)
    pose = _rotation(tilt) @ np.diag([1.0, rng.uniform(*_SQUASH)])
    pose = pose @ _rotation(angle - tilt)
    contours = [contour @ pose.T for contour in contours]
    low, high = contours[0].min(axis=0), contours[0].max(axis=0)
    scale = extent / (high - low).max()
    contours = [(contour - (low + high) / 2) * scale for contour in contours]
    return Shape(label, tuple(contours), angle)


def _rotation(angle: float) -> np.ndarray:
    cos, sin = np.cos(angle), np.sin(angle)
    return np.array([[cos, -sin], [sin, cos]])


def move(shape: Shape, offset: np.ndarray) -> Shape:
    """Shift a shape by ``offset`` (x, y) in pixels."""
    return Shape(shape.label, tuple(c + offset for c in shape.contours), shape.angle)


def coverage(
    contours: tuple[Contour, ...], width: int, height: int, scale: float = 1.0
) -> np.ndarray:
    """Rasterise contours (even-odd, so the second one is a hole), antialiased.

    The result is fat by ``FILL_EXCESS`` of its own pixels.

    Args:
        contours: Polygons in picture coordinates.
        width: Columns of the result.
        height: Rows of the result.
        scale: Result pixels per picture pixel.

    Returns:
        Covered part of each pixel, uint8 of shape (height, width), 255 = all.
    """
    # OpenCV puts integer coordinates at pixel centres, hence the half pixel.
    points = [
        np.round((c * scale * _FINE - 0.5) * (1 << _SUBPIXEL_BITS)).astype(np.int32)
        for c in contours
    ]
    fine = np.zeros((height * _FINE, width * _FINE), np.uint8)
    # Not LINE_AA: it fattens a polygon by more than half a pixel, unevenly.
    cv2.fillPoly(fine, points, 255, cv2.LINE_8, _SUBPIXEL_BITS)
    return cv2.resize(fine, (width, height), interpolation=cv2.INTER_AREA)
