"""Plots of measured latency against the paper's accuracy, and of Figure 9's steps."""

from __future__ import annotations

import math
import textwrap
from collections.abc import Sequence
from pathlib import Path

from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, NullFormatter, StrMethodFormatter

from mmnv3.files import whole_or_absent
from studies.latency.findings import median_column, printed_column
from studies.latency.page import TITLES
from studies.latency.results import Measured
from studies.latency.study import Study

# Families in the order of their colours; others as they come.
_ORDER = {'V3': 0, 'MnasNet': 1, 'V2': 2, 'V1': 3}
_COLOURS = ('tab:red', 'tab:blue', 'tab:green', 'tab:gray')
# Where names stand: those of the first family, which is the frontier, before their
# points, but for points that are slower than a better one of the family.
_BEFORE, _BESIDE = ((-5, 4), 'right'), ((5, -9), 'left')
# How much wider than its points a part is, in powers.
_ROOM = 1.8
# Where a decade of latency is labelled.
_FEW_TICKS, _MANY_TICKS = (1, 2, 5), (1, 1.5, 2, 3, 4, 5, 6, 8)
_DPI = 100
# Of what is no backend. The paper prints the ends alone, which no line should join.
_STEP_STYLES = {
    'MAdds': dict(ls='--', marker='s', color='0.65'),
    'paper': dict(ls='', marker='s', color='black'),
}
STEPS = 'figure9'


def draw_study(study: Study, measured: Measured, path: Path) -> None:
    """Draws a study.

    Args:
        study: The study.
        measured: Its times.
        path: The PNG, which appears whole or not at all.
    """
    draw = _draw_steps if study.key == STEPS else _draw_frontiers
    figure = draw(study, measured)
    FigureCanvasAgg(figure)
    with whole_or_absent(path) as partial:
        figure.savefig(partial, format='png', dpi=_DPI)


def _draw_frontiers(study: Study, measured: Measured) -> Figure:
    """A part for the paper and one for every backend, of one height."""
    panels = [(f'paper: {study.columns[0]}', printed_column(study))]
    panels += [
        (f'{TITLES[name]}, ms', median_column(measured, name))
        for name in measured.backends
    ]
    columns = min(3, len(panels))
    rows = -(-len(panels) // columns)
    figure = Figure(figsize=(4.6 * columns, 3.7 * rows), layout='constrained')
    grid = list(figure.subplots(rows, columns, sharey=True, squeeze=False).flat)
    # One span for all, or a backend's noise would look like another's differences.
    ends = [_ends(study, column) for _, column in panels]
    span = max(high / low for low, high in ends)
    for axes, (title, column) in zip(grid, panels):
        _draw_frontier(axes, study, column, span)
        axes.set_title(title, fontsize=10)
    for axes in grid[len(panels) :]:
        axes.set_axis_off()
    for axes in grid[::columns]:
        axes.set_ylabel(f"the paper's {study.accuracy}")
    handles, names = grid[0].get_legend_handles_labels()
    figure.legend(handles, names, loc='outside lower center', ncols=len(names))
    return figure


def _draw_frontier(
    axes: Axes, study: Study, column: Sequence[float | None], span: float
) -> None:
    """Draws a column of latencies in a part that is made for such a span of them."""
    families: dict[str, list[tuple[float, float, str]]] = {}
    for entry, ms in zip(study.entries, column):
        if ms is not None and entry.accuracy is not None:
            family, name = study.family(entry.labels)
            families.setdefault(family, []).append((entry.accuracy, ms, name))
    names = sorted(families, key=lambda name: _ORDER.get(name, 0))
    for place, (family, colour) in enumerate(zip(names, _COLOURS)):
        points = sorted(families[family])
        axes.plot(
            [ms for _, ms, _ in points],
            [accuracy for accuracy, *_ in points],
            'o-',
            color=colour,
            lw=1,
            ms=4,
            label=family,
        )
        for accuracy, ms, name in points:
            beaten = any(y >= accuracy and x < ms for y, x, _ in points)
            offset, side = _BESIDE if place or beaten else _BEFORE
            axes.annotate(
                name,
                (ms, accuracy),
                offset,
                textcoords='offset points',
                ha=side,
                fontsize=7.5,
                color=colour,
            )
    low, high = _ends(study, column)
    middle = math.sqrt(low * high)
    # Names stand beside their points.
    reach = span ** (0.5 * _ROOM)
    axes.set(xscale='log', xlim=(middle / reach, middle * reach))
    ticks = _FEW_TICKS if reach**2 > 10 else _MANY_TICKS
    axes.xaxis.set_major_locator(LogLocator(subs=ticks))
    axes.xaxis.set_major_formatter(StrMethodFormatter('{x:g}'))
    axes.xaxis.set_minor_formatter(NullFormatter())
    axes.margins(y=0.1)
    axes.grid(alpha=0.3)


def _ends(study: Study, column: Sequence[float | None]) -> tuple[float, float]:
    """The least and the most of what is drawn, which has an accuracy."""
    drawn = [ms for entry, ms in zip(study.entries, column) if ms and entry.accuracy]
    return min(drawn), max(drawn)


def _draw_steps(study: Study, measured: Measured) -> Figure:
    """A line for every backend, from the first network down to the last."""
    figure = Figure(figsize=(9, 4), layout='constrained')
    axes = figure.subplots()
    places = range(len(study.entries))
    lines = {TITLES[name]: median_column(measured, name) for name in measured.backends}
    lines['MAdds'] = [float(timed.madds) for timed in measured.networks]
    lines[f'paper: {study.columns[0][:-3]}, ends'] = printed_column(study)
    for name, column in lines.items():
        points = [
            (value / column[0], place)
            for place, value in zip(places, column)
            if value and column[0]
        ]
        style = _STEP_STYLES.get(name.partition(':')[0], dict(ls='-', marker='o'))
        axes.plot(*zip(*points), ms=5, label=name, **style)
    axes.set_yticks(
        places,
        [textwrap.fill(study.family(e.labels)[1], 30) for e in study.entries],
    )
    axes.invert_yaxis()
    axes.set_xlabel(f'in proportion to {study.entries[0].labels[1]}')
    axes.grid(alpha=0.3)
    figure.legend(loc='outside right upper', fontsize=9)
    return figure
