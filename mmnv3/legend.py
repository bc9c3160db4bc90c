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
