"""What the colours of a picture mean."""

from __future__ import annotations

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.patches import Patch

_DPI = 100
# What a line of the legend takes, and an entry: a swatch and a character.
_LINE, _SWATCH, _CHARACTER = 24, 50, 8


def draw_legend(entries: dict[str, tuple[int, int, int]], width: int) -> np.ndarray:
    """Draws names beside their colours.

    Args:
        entries: Colours, RGB, by name.
        width: Pixels.

    Returns:
        (height, width, 3) uint8, RGB; as many lines as the names need.
    """
    longest = max(map(len, entries), default=1)
    columns = max(1, width // (_SWATCH + _CHARACTER * longest))
    lines = max(1, -(-len(entries) // columns))
    figure = Figure(figsize=(width / _DPI, lines * _LINE / _DPI), dpi=_DPI)
    canvas = FigureCanvasAgg(figure)
    figure.legend(
        handles=[
            Patch(color=f'#{bytes(colour).hex()}', label=name)
            for name, colour in entries.items()
        ],
        loc='center',
        ncols=columns,
        frameon=False,
        fontsize=9,
        borderpad=0,
        labelspacing=0.4,
    )
    canvas.draw()
    return np.asarray(canvas.buffer_rgba())[..., :3]


def add_legend(
    picture: np.ndarray, entries: dict[str, tuple[int, int, int]]
) -> np.ndarray:
    """Puts a legend below a picture.

    Args:
        picture: (H, W, 3) uint8, RGB.
        entries: Colours, RGB, by name.

    Returns:
        The same kind of picture, with white at its right where a name needs more room.
    """
    needed = _SWATCH + _CHARACTER * max(map(len, entries), default=0)
    right = max(0, needed - picture.shape[1])
    picture = np.pad(picture, ((0, 0), (0, right), (0, 0)), constant_values=255)
    return np.concatenate([picture, draw_legend(entries, picture.shape[1])])
