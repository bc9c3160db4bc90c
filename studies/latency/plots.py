"""Plots of measured latency against the paper's accuracy, and of Figure 9's steps."""

from __future__ import annotations

import math
import textwrap

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator

from studies.latency.results import Measured
from studies.latency.studies import Study
from studies.plots import name_point, new_figure, use_log_axis

TITLES = {
    'pytorch': 'PyTorch',
    'compile': 'torch.compile',
    'onnxruntime': 'ONNX Runtime',
    'openvino': 'OpenVINO',
    'litert': 'LiteRT',
    'MAdds': 'MAdds',
}

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
# Of what is no backend. The paper prints the ends alone, which no line should join.
_STEP_STYLES = {
    'MAdds': dict(ls='--', marker='s', color='0.65'),
    'paper': dict(ls='', marker='s', color='black'),
}


def draw_study(study: Study, measured: Measured) -> Figure:
    """Draws the times of a study beside the paper's."""
    draw = _draw_steps if study.key == 'figure9' else _draw_frontiers
    return draw(study, measured)


def _draw_frontiers(study: Study, measured: Measured) -> Figure:
    """A part for the paper and one for every backend, of one height."""
    panels = [(f'paper: {study.columns[0]}', study.printed_ms())]
    panels += [
        (f'{TITLES[name]}, ms', measured.median_ms(name)) for name in measured.backends
    ]
    columns = min(3, len(panels))
    rows = -(-len(panels) // columns)
    figure = new_figure(4.6 * columns, 3.7 * rows)
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
    axes: Axes, study: Study, column: list[float | None], span: float
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
            name_point(axes, name, (ms, accuracy), offset, colour, side)
    low, high = _ends(study, column)
    middle = math.sqrt(low * high)
    # Names stand beside their points.
    reach = span ** (0.5 * _ROOM)
    ticks = _FEW_TICKS if reach**2 > 10 else _MANY_TICKS
    use_log_axis(axes, LogLocator(subs=ticks))
    axes.set_xlim(middle / reach, middle * reach)
    axes.margins(y=0.1)
    axes.grid(alpha=0.3)


def _ends(study: Study, column: list[float | None]) -> tuple[float, float]:
    """The least and the most of what is drawn, which has an accuracy."""
    drawn = [ms for entry, ms in zip(study.entries, column) if ms and entry.accuracy]
    return min(drawn), max(drawn)


def _draw_steps(study: Study, measured: Measured) -> Figure:
    """A line for every backend, from the first network down to the last."""
    figure = new_figure(9, 4)
    axes = figure.subplots()
    places = range(len(study.entries))
    lines = {TITLES[name]: measured.median_ms(name) for name in measured.backends}
    lines['MAdds'] = measured.madds()
    lines[f'paper: {study.printed_by}, ends'] = study.printed_ms()
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
