"""Figures 1 and 2: the paper's accuracy against its latency and our multiply-adds."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.ticker import ScalarFormatter

from mmnv3.files import whole_or_absent
from studies.paper.classification import TABLE_3, TABLE_9
from studies.paper.networks import Classifier, cost
from studies.paper.tables import UNITS, Row

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


def _latency(row: Row) -> float:
    """Milliseconds on Pixel 1, which Tables 3 and 9 print after the accuracy."""
    return float(row.measured[1])


def _madds(row: Row) -> float:
    """Our millions of multiply-adds; as printed where the network is not ours."""
    return cost(row.network).madds / UNITS['M'] if row.network else float(row.madds)


FIGURES = (
    Frontier(
        'paper_frontier_latency.png',
        'Accuracy and latency, in the manner of Figure 1',
        "Both axes are the paper's: Tables 3 and 9.",
        "the paper's latency on Pixel 1, ms",
        _latency,
        (5, 10, 20, 30, 50, 80),
    ),
    Frontier(
        'paper_frontier_madds.png',
        'Accuracy and MAdds, in the manner of Figure 2',
        "MAdds are counted here, but for ProxylessNAS; accuracy is the paper's.",
        'MAdds, millions',
        _madds,
        (12, 25, 50, 100, 200, 350),
    ),
)


def _family(arch: str, by_width: bool) -> Iterator[tuple[str, Row]]:
    """Rows of Table 9: one network at all multipliers, or at all resolutions.

    Yields:
        The multiplier, and its row.
    """
    for row in TABLE_9.rows:
        network: Classifier = row.network
        varies = network.side == 224 if by_width else network.width == 1
        # The name leaves out the row of the early version, another network.
        if row.labels[0] == _V3_NAMES[arch] and varies:
            yield f'{network.width:g}', row


def _others() -> Iterator[tuple[str, Row]]:
    """Rows of Table 3 that are not V3."""
    for row in TABLE_3.rows:
        if row.network is None or row.network.arch not in _V3_NAMES:
            yield row.labels[0], row


def _draw_family(axes: Axes, figure: Frontier, arch: str, by_width: bool) -> None:
    named = sorted(_family(arch, by_width), key=lambda item: figure.read(item[1]))
    x = [figure.read(row) for _, row in named]
    y = [float(row.measured[0]) for _, row in named]
    style = (
        dict(marker='o', label=f'{_V3_NAMES[arch]}, multipliers')
        if by_width
        else dict(marker='.', ls='--', lw=1, label=f'{_V3_NAMES[arch]}, 96 to 256 px')
    )
    axes.plot(x, y, color=_COLOURS[arch], **style)
    # Resolutions follow one another along their line; their names would hide it.
    for name, *point in zip((name for name, _ in named), x, y) if by_width else ():
        axes.annotate(
            name,
            point,
            _OFFSETS[arch],
            textcoords='offset points',
            ha='right' if arch == 'small' else 'left',
            fontsize=8,
            color=_COLOURS[arch],
        )


def draw_frontier(figure: Frontier, folder: Path) -> Path:
    """Writes a figure.

    Args:
        figure: What to draw.
        folder: Where its PNG appears, whole or not at all.

    Returns:
        The PNG's path.
    """
    canvas = Figure(figsize=(8, 5.5), layout='constrained')
    FigureCanvasAgg(canvas)
    axes = canvas.subplots()
    for arch in _V3_NAMES:
        for by_width in (True, False):
            _draw_family(axes, figure, arch, by_width)
    for name, row in _others():
        point = figure.read(row), float(row.measured[0])
        axes.plot(*point, marker='s', ls='', color='tab:gray')
        axes.annotate(
            name,
            point,
            _OFFSETS.get(name, (6, -3)),
            textcoords='offset points',
            fontsize=8,
            color='0.3',
        )
    axes.set(
        title=figure.title,
        xlabel=figure.axis,
        ylabel="the paper's ImageNet top-1, %",
        xscale='log',
    )
    axes.set_xticks(figure.ticks)
    axes.xaxis.set_major_formatter(ScalarFormatter())
    axes.minorticks_off()
    # Names stand right of their points.
    axes.margins(x=0.12)
    axes.grid(alpha=0.3)
    axes.legend(loc='lower right')
    path = folder / figure.file
    with whole_or_absent(path) as partial:
        canvas.savefig(partial, format='png', dpi=110)
    return path
