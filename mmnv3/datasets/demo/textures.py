"""Patterns in [0, 1] that mix two colours."""

from __future__ import annotations

from collections.abc import Callable

import cv2
import numpy as np

Pattern = Callable[[np.random.Generator, np.ndarray, np.ndarray], np.ndarray]


def value_noise(
    rng: np.random.Generator, height: int, width: int, cell: float, octaves: int = 3
) -> np.ndarray:
    """Smooth noise: random grids, each twice as fine and half as strong.

    Args:
        rng: Source of the grids.
        height: Rows.
        width: Columns.
        cell: Pixels between the nodes of the coarsest grid.
        octaves: Number of grids.

    Returns:
        float32 of shape (height, width) in [0, 1].
    """
    total = np.zeros((height, width), np.float32)
    for octave in range(octaves):
        step = max(cell / 2**octave, 1.0)
        grid = rng.random((int(height / step) + 2, int(width / step) + 2), np.float32)
        layer = cv2.resize(grid, (width, height), interpolation=cv2.INTER_CUBIC)
        total += layer * 0.5**octave
    low, high = float(total.min()), float(total.max())
    return (total - low) / max(high - low, 1e-6)


def _plain(rng: np.random.Generator, u: np.ndarray, v: np.ndarray) -> np.ndarray:
    return np.zeros_like(u)


def _stripes(rng: np.random.Generator, u: np.ndarray, v: np.ndarray) -> np.ndarray:
    return _soft_step(np.sin(2 * np.pi * (u + rng.random(dtype=np.float32))))


def _checker(rng: np.random.Generator, u: np.ndarray, v: np.ndarray) -> np.ndarray:
    return _soft_step(np.sin(np.pi * u) * np.sin(np.pi * v) * 2)


def _dots(rng: np.random.Generator, u: np.ndarray, v: np.ndarray) -> np.ndarray:
    distance = np.hypot(u - np.round(u), v - np.round(v))
    return _soft_step((rng.uniform(0.22, 0.34) - distance) * 4)


def _rust(rng: np.random.Generator, u: np.ndarray, v: np.ndarray) -> np.ndarray:
    return value_noise(rng, *u.shape, cell=max(u.shape) / 5, octaves=4)


def _grain(rng: np.random.Generator, u: np.ndarray, v: np.ndarray) -> np.ndarray:
    bend = value_noise(rng, *u.shape, cell=max(u.shape) / 2, octaves=2)
    return 0.5 + 0.5 * np.sin(2 * np.pi * (u + 2 * bend))


def _soft_step(x: np.ndarray) -> np.ndarray:
    return np.clip(0.5 + 3 * x, 0, 1)


PATTERNS: dict[str, Pattern] = {
    'plain': _plain,
    'stripes': _stripes,
    'checker': _checker,
    'dots': _dots,
    'rust': _rust,
    'grain': _grain,
}
"""Patterns by name: (rng, u, v) -> mix, with u and v in periods, all of one shape."""


def random_pattern(
    rng: np.random.Generator, height: int, width: int, period: float, angle: float
) -> np.ndarray:
    """Draw one of ``PATTERNS``, chosen evenly.

    Args:
        rng: Source of the choice and of the pattern.
        height: Rows.
        width: Columns.
        period: Pixels after which the pattern repeats.
        angle: Direction in radians.

    Returns:
        float32 of shape (height, width) in [0, 1].
    """
    names = list(PATTERNS)
    pattern = PATTERNS[names[rng.integers(len(names))]]
    x = np.arange(width, dtype=np.float32) / period
    y = np.arange(height, dtype=np.float32)[:, None] / period
    cos, sin = np.float32(np.cos(angle)), np.float32(np.sin(angle))
    mix = pattern(rng, cos * x + sin * y, cos * y - sin * x)
    return mix.astype(np.float32, copy=False)
