"""Figures 1 and 2: the paper's accuracy against its latency and our multiply-adds."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator

from studies.networks import cost
from studies.paper.printed import TABLE_3, TABLE_9
from studies.paper.tables import UNITS, Row
from studies.plots import name_point, new_figure, use_log_axis

_V3_NAMES = {'large': 'V3-Large', 'small': 'V3-Small'}
_COLOURS = {'large': 'tab:red', 'small': 'tab:blue'}

# Where a point's name stands, in printer's points: Small's lie above its line, Large's
# below, and two networks that are nearly one point give way to each other.
_OFFSETS = {
    'small': (-6, 4),
    'large': (7, -6),
    'MnasNet-A1': (6, -1),
    'ProxylessNAS': (6, -9),
}


@dataclass(frozen=True)
class Frontier:
    """A figure.

    Args:
        file: Its file name.
        title: What it shows.
        about: What to know before reading it.
        axis: Label of the horizontal axis.
        read: The place of a row on it.
        ticks: Where that axis is labelled.
    """

    file: str
    title: str
    about: str
    axis: str
    read: Callable[[Row], float]
    ticks: tuple[int, ...]

    def point(self, row: Row) -> tuple[float, float]:
        """The place of a row: that on the axis, and its accuracy."""
        return self.read(row), float(row.measured[0])


def _latency_ms(row: Row) -> float:
    """Milliseconds on Pixel 1, which Tables 3 and 9 print after the accuracy."""
    return float(row.measured[1])


def _madds_millions(row: Row) -> float:
    """Our multiply-adds; as printed where the network is not ours."""
    return cost(row.network).madds / UNITS['M'] if row.network else float(row.madds)


FRONTIERS = (
    Frontier(
        'paper_frontier_latency.png',
        'Accuracy and latency, in the manner of Figure 1',
        "Both axes are the paper's: Tables 3 and 9.",
        "the paper's latency on Pixel 1, ms",
        _latency_ms,
        (5, 10, 20, 30, 50, 80),
    ),
    Frontier(
        'paper_frontier_madds.png',
        'Accuracy and MAdds, in the manner of Figure 2',
        "MAdds are counted here, but for ProxylessNAS; accuracy is the paper's.",
        'MAdds, millions',
        _madds_millions,
        (12, 25, 50, 100, 200, 350),
    ),
)


def draw_frontier(frontier: Frontier) -> Figure:
    """Draws V3 at all multipliers and resolutions, and the others of Table 3."""
    figure = new_figure(8, 5.5)
    axes = figure.subplots()
    for arch, name in _V3_NAMES.items():
        # The name leaves out the row of the early version, another network.
        rows = [row for row in TABLE_9.rows if row.labels[0] == name]
        _draw_multipliers(axes, frontier, arch, rows)
        _draw_resolutions(axes, frontier, arch, rows)
    for row in TABLE_3.rows:
        if row.network is None or row.network.arch not in _V3_NAMES:
            name, point = row.labels[0], frontier.point(row)
            axes.plot(*point, marker='s', ls='', color='tab:gray')
            name_point(axes, name, point, _OFFSETS.get(name, (6, -3)), '0.3')
    use_log_axis(axes, FixedLocator(frontier.ticks))
    axes.set(
        title=frontier.title,
        xlabel=frontier.axis,
        ylabel="the paper's ImageNet top-1, %",
    )
    # Names stand right of their points.
    axes.margins(x=0.12)
    axes.grid(alpha=0.3)
    axes.legend(loc='lower right')
    return figure


def _draw_multipliers(
    axes: Axes, frontier: Frontier, arch: str, rows: list[Row]
) -> None:
    rows = sorted((row for row in rows if row.network.side == 224), key=frontier.read)
    points = [frontier.point(row) for row in rows]
    label = f'{_V3_NAMES[arch]}, multipliers'
    axes.plot(*zip(*points), 'o-', color=_COLOURS[arch], label=label)
    side = 'right' if arch == 'small' else 'left'
    for row, point in zip(rows, points):
        name = f'{row.network.width:g}'
        name_point(axes, name, point, _OFFSETS[arch], _COLOURS[arch], side)


def _draw_resolutions(
    axes: Axes, frontier: Frontier, arch: str, rows: list[Row]
) -> None:
    """A line without names, which would hide it: resolutions follow one another."""
    points = sorted(frontier.point(row) for row in rows if row.network.width == 1)
    label = f'{_V3_NAMES[arch]}, 96 to 256 px'
    axes.plot(*zip(*points), '.--', color=_COLOURS[arch], lw=1, label=label)
