"""Colour, light and camera: how a scene comes to look like a picture.

A canvas is float32 BGR in [0, 1], drawn ``SUPERSAMPLING`` times too large, and
painted in place from back to front.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np

from mmnv3.datasets.demo.shapes import Shape, coverage
from mmnv3.datasets.demo.textures import random_pattern, value_noise

SUPERSAMPLING = 2


@dataclass(frozen=True)
class Light:
    """One lamp far away.

    Args:
        toward: Unit vector (x right, y down, z to the viewer) to the lamp.
        tint: BGR colour of its light, around 1.
        shadow: Part of the light that is missing in a shadow.
        softness: Blur of a shadow's edge, as a part of the shadow's length.
    """

    toward: tuple[float, float, float]
    tint: tuple[float, float, float]
    shadow: float
    softness: float

    @classmethod
    def random(cls, rng: np.random.Generator) -> Light:
        """Draw a lamp anywhere above, from dusk to bright, from cold to warm."""
        azimuth, height = rng.uniform(-np.pi, np.pi), rng.uniform(0.55, 1.1)
        toward = (
            float(np.cos(azimuth) * np.cos(height)),
            float(np.sin(azimuth) * np.cos(height)),
            float(np.sin(height)),
        )
        brightness, warmth = rng.uniform(0.7, 1.15), rng.uniform(-0.12, 0.12)
        tint = tuple(brightness * (1 + sign * warmth) for sign in (-1, 0, 1))
        return cls(toward, tint, rng.uniform(0.3, 0.65), rng.uniform(0.2, 0.6))


def _colour(
    rng: np.random.Generator,
    saturation: tuple[float, float],
    value: tuple[float, float],
) -> np.ndarray:
    hsv = [rng.uniform(0, 360), rng.uniform(*saturation), rng.uniform(*value)]
    return cv2.cvtColor(np.float32([[hsv]]), cv2.COLOR_HSV2BGR)[0, 0]


def _blend(mix: np.ndarray, first: np.ndarray, second: np.ndarray) -> np.ndarray:
    return first + mix[..., None] * (second - first)


def paint_backdrop(rng: np.random.Generator, size: int, light: Light) -> np.ndarray:
    """Paint a wall, sometimes with a floor before it, and the litter on them.

    Args:
        rng: Source of everything random.
        size: Side of the finished picture in pixels.
        light: The scene's lamp.

    Returns:
        A canvas, float32 of shape (size * SUPERSAMPLING,) * 2 + (3,).
    """
    side = size * SUPERSAMPLING
    canvas = _surface(rng, side, side)
    if rng.random() < 0.5:
        horizon = int(side * rng.uniform(0.25, 0.75))
        floor = _surface(rng, side - horizon, side)
        # A little darkness where wall and floor meet, as in a room's corner.
        depth = np.arange(side - horizon, dtype=np.float32) / (0.06 * side)
        canvas[horizon:] = floor * (1 - 0.3 * np.exp(-depth))[:, None, None]
    _scatter_litter(rng, canvas, light)
    canvas *= _falloff(rng, side, light)[..., None]
    canvas *= np.float32(light.tint)
    return canvas


def _surface(rng: np.random.Generator, height: int, width: int) -> np.ndarray:
    base = _colour(rng, (0.03, 0.3), (0.3, 0.85))
    period = width * rng.uniform(0.06, 0.3)
    pattern = random_pattern(rng, height, width, period, rng.uniform(-np.pi, np.pi))
    surface = _blend(pattern, base, base * rng.uniform(0.78, 1.0))
    blotches = value_noise(rng, height, width, width * rng.uniform(0.15, 0.5), 5)
    surface *= (1 + rng.uniform(0.1, 0.35) * (blotches - 0.5))[..., None]
    return surface


def _falloff(rng: np.random.Generator, side: int, light: Light) -> np.ndarray:
    """Light that fades across the picture, away from the lamp."""
    ramp = np.linspace(-0.5, 0.5, side, dtype=np.float32)
    strength = rng.uniform(0.1, 0.5)
    x, y, _ = light.toward
    return (
        1 + np.float32(strength * x) * ramp + np.float32(strength * y) * ramp[:, None]
    )


def _scatter_litter(rng: np.random.Generator, canvas: np.ndarray, light: Light) -> None:
    """Sticks and pebbles: edges that are no object, all thinner than the objects."""
    side = canvas.shape[0]
    for _ in range(rng.integers(0, 7)):
        start = rng.uniform(0, side, 2)
        steps = rng.normal(0, 0.04 * side, (4, 2)) + rng.normal(0, 0.09 * side, 2)
        points = np.round(start + np.cumsum(steps, axis=0)).astype(np.int32)
        thickness = max(1, round(side * rng.uniform(0.002, 0.012)))
        colour = _colour(rng, (0.0, 0.6), (0.15, 0.9)).tolist()
        cv2.polylines(canvas, [points], False, colour, thickness, cv2.LINE_AA)
    for _ in range(rng.integers(0, 10)):
        turns = np.sort(rng.uniform(0, 2 * np.pi, 7))
        radii = side * rng.uniform(0.008, 0.03) * rng.uniform(0.6, 1.0, 7)
        centre = rng.uniform(0, side, 2)
        spokes = np.stack([np.cos(turns), np.sin(turns)], axis=1)
        points = np.round(centre + radii[:, None] * spokes).astype(np.int32)
        colour = _colour(rng, (0.0, 0.6), (0.15, 0.9))
        shade = points - np.round(np.array(light.toward[:2]) * 0.006 * side)
        local = canvas[tuple(np.clip(points[0, ::-1], 0, side - 1))]
        dark = (local * (1 - light.shadow)).tolist()
        cv2.fillPoly(canvas, [shade.astype(np.int32)], dark, cv2.LINE_AA)
        cv2.fillPoly(canvas, [points], colour.tolist(), cv2.LINE_AA)


def paint_shape(
    rng: np.random.Generator, canvas: np.ndarray, shape: Shape, light: Light
) -> None:
    """Paint a shape and, before it, the shadow it casts on all that lies behind.

    Args:
        rng: Source of colour, texture and thickness.
        canvas: Painted in place.
        shape: What to paint, in coordinates of the finished picture.
        light: The scene's lamp.
    """
    extent = shape.extent * SUPERSAMPLING
    lift = extent * rng.uniform(0.05, 0.15)
    away = -np.array(light.toward[:2]) / light.toward[2] * lift
    blur = max(light.softness * lift, 1.0)
    margin = int(np.ceil(np.abs(away).max() + 3 * blur)) + 2
    side = canvas.shape[0]
    box = np.array(shape.bounds) * SUPERSAMPLING
    x0, y0 = (max(int(v) - margin, 0) for v in box[:2])
    x1, y1 = (min(int(v) + margin, side) for v in box[2:])
    window = canvas[y0:y1, x0:x1]
    height, width = window.shape[:2]

    def cover(shift: np.ndarray) -> np.ndarray:
        origin = (np.array([x0, y0]) - shift) / SUPERSAMPLING
        contours = tuple(contour - origin for contour in shape.contours)
        return coverage(contours, width, height, SUPERSAMPLING)

    shadow = cv2.GaussianBlur(cover(away).astype(np.float32) / 255, (0, 0), blur)
    window *= (1 - light.shadow * shadow)[..., None]

    solid = cover(np.zeros(2))
    paint = _blend(
        random_pattern(rng, height, width, extent * rng.uniform(0.1, 0.3), shape.angle),
        *_colour_pair(rng),
    )
    diffuse, gloss = _relief(rng, solid, extent, light)
    paint *= diffuse[..., None]
    paint *= np.float32(light.tint)
    paint += gloss[..., None]
    alpha = (solid.astype(np.float32) / 255)[..., None]
    window += alpha * (paint - window)


def _colour_pair(rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """A strong colour and a second one, lighter or darker or of another hue."""
    first = _colour(rng, (0.65, 1.0), (0.55, 1.0))
    if rng.random() < 0.4:
        return first, _colour(rng, (0.4, 1.0), (0.4, 1.0))
    return first, first * rng.uniform(0.4, 0.8)


def _relief(
    rng: np.random.Generator, solid: np.ndarray, extent: float, light: Light
) -> tuple[np.ndarray, np.ndarray]:
    """Shade a shape as a body with rounded edges.

    Args:
        rng: Source of the body's form and gloss.
        solid: uint8 coverage of the shape, (height, width).
        extent: The shape's size in canvas pixels.
        light: The scene's lamp.

    Returns:
        Factor for the body's colour and white to add, float32 (height, width).
    """
    inside = (solid >= 128).astype(np.uint8)
    depth = cv2.distanceTransform(inside, cv2.DIST_L2, 5)
    edge = extent * rng.uniform(0.05, 0.3)
    slope = np.clip(depth / edge, 0, 1)
    bulge = np.sqrt(slope * (2 - slope)) * edge * rng.uniform(0.4, 0.9)
    bulge = cv2.GaussianBlur(bulge, (0, 0), max(edge * 0.12, 1.0))
    normal_x = -cv2.Sobel(bulge, cv2.CV_32F, 1, 0, ksize=3, scale=1 / 8)
    normal_y = -cv2.Sobel(bulge, cv2.CV_32F, 0, 1, ksize=3, scale=1 / 8)
    length = np.sqrt(normal_x**2 + normal_y**2 + 1)
    x, y, z = (np.float32(v) for v in light.toward)
    incidence = np.maximum((normal_x * x + normal_y * y + z) / length, 0)
    ambient = np.float32(rng.uniform(0.3, 0.5))
    diffuse = ambient + (1 - ambient) * incidence / z
    # Blinn's half vector, with the viewer straight above.
    half = np.float32([x, y, z + 1]) / np.float32(np.sqrt(2 * (1 + z)))
    mirror = (normal_x * half[0] + normal_y * half[1] + half[2]) / length
    gloss = np.float32(rng.uniform(0, 0.45)) * np.maximum(mirror, 0) ** 70
    return diffuse, gloss


def develop(rng: np.random.Generator, canvas: np.ndarray, size: int) -> np.ndarray:
    """Turn a canvas into the picture a plain camera would give.

    Args:
        rng: Source of lens blur and sensor noise.
        canvas: float32 BGR.
        size: Side of the picture in pixels.

    Returns:
        uint8 of shape (size, size, 3), BGR.
    """
    image = cv2.resize(canvas, (size, size), interpolation=cv2.INTER_AREA)
    sigma = rng.uniform(0.2, 0.9) * size / 320
    image = cv2.GaussianBlur(image, (0, 0), sigma)
    noise = rng.standard_normal(image.shape, np.float32)
    # Photon noise grows with the root of the light, on top of a constant part.
    level = np.float32(rng.uniform(0.004, 0.025))
    image += noise * level * np.sqrt(np.maximum(image, 0) + np.float32(0.1))
    return np.round(np.clip(image, 0, 1) * 255).astype(np.uint8)
