"""The style that all figures of the studies share."""

from __future__ import annotations

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import Locator, NullFormatter, StrMethodFormatter

_DOTS_PER_INCH = 100
_NAME_SIZE = 7.5


def new_figure(width: float, height: float) -> Figure:
    """An empty figure, in inches, whose parts leave each other room."""
    return Figure(figsize=(width, height), dpi=_DOTS_PER_INCH, layout='constrained')


def name_point(
    axes: Axes,
    name: str,
    point: tuple[float, float],
    offset: tuple[float, float],
    colour: str,
    side: str = 'left',
) -> None:
    """Writes a name beside a point.

    Args:
        axes: Where.
        name: What.
        point: In the numbers of the axes.
        offset: From there, in printer's points.
        colour: Of the name.
        side: The end of the name that stands there, ``'left'`` or ``'right'``.
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


def use_log_axis(axes: Axes, ticks: Locator) -> None:
    """Makes the horizontal axis logarithmic, labelled in plain numbers."""
    axes.set_xscale('log')
    axes.xaxis.set_major_locator(ticks)
    axes.xaxis.set_major_formatter(StrMethodFormatter('{x:g}'))
    axes.xaxis.set_minor_formatter(NullFormatter())
