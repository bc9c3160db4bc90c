"""How the studies plot: one look of points, names and axes."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, NullFormatter, StrMethodFormatter

from mmnv3.files import whole_or_absent

COLOURS = ('tab:red', 'tab:blue', 'tab:green', 'tab:gray')
_DPI = 100
_NAME_SIZE = 8


def new_figure(width: float, height: float) -> Figure:
    """An empty figure, in inches, that leaves room for what stands around its axes."""
    figure = Figure(figsize=(width, height), layout='constrained')
    FigureCanvasAgg(figure)
    return figure


def save_figure(figure: Figure, path: Path) -> None:
    """Writes a PNG, which appears whole or not at all."""
    with whole_or_absent(path) as partial:
        figure.savefig(partial, format='png', dpi=_DPI)


def name_point(
    axes: Axes,
    name: str,
    point: tuple[float, float],
    offset: tuple[float, float],
    colour: str,
    side: str = 'left',
) -> None:
    """Writes a point's name beside it.

    Args:
        axes: Where the point is.
        name: Its name.
        point: Its place.
        offset: From there to the name, in printer's points.
        colour: Of the name.
        side: The end of the name that is at the offset, ``'left'`` or ``'right'``.
    """
    axes.annotate(
        name,
        point,
        offset,
        textcoords='offset points',
        ha=side,
        fontsize=_NAME_SIZE,
        color=colour,
    )


def use_log_axis(axes: Axes, ticks: Sequence[float], decade: bool = False) -> None:
    """Makes the horizontal axis logarithmic, with numbers that people read.

    Args:
        axes: The axes.
        ticks: Where it is labelled.
        decade: Whether the ticks are of each decade, from 1 to 10.
    """
    axes.set_xscale('log')
    if decade:
        axes.xaxis.set_major_locator(LogLocator(subs=ticks))
    else:
        axes.set_xticks(ticks)
        axes.minorticks_off()
    axes.xaxis.set_major_formatter(StrMethodFormatter('{x:g}'))
    axes.xaxis.set_minor_formatter(NullFormatter())
    axes.grid(alpha=0.3)
