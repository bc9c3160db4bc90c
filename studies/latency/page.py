"""The page: what was measured beside what the paper prints, and plots of the studies."""

from __future__ import annotations

import math
import textwrap
from collections.abc import Iterator, Sequence
from pathlib import Path

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from mmnv3.benchmark.machine import machine_line
from mmnv3.errors import UserError
from studies.latency.results import (
    Measured,
    Results,
    changes,
    compared,
    correlations,
    median_column,
    printed_column,
    spread,
)
from studies.latency.studies import STUDIES
from studies.latency.study import Study
from studies.pages import DASH, markdown_table, picture, wrap_text, write_page
from studies.plots import COLOURS, name_point, new_figure, use_log_axis

TITLES = {
    'pytorch': 'PyTorch',
    'compile': 'torch.compile',
    'onnxruntime': 'ONNX Runtime',
    'openvino': 'OpenVINO',
    'litert': 'LiteRT',
    'MAdds': 'MAdds',
}

_ORIGIN = (
    'Written by `python tools/latency_study.py --out {name}.md`, which exports every '
    'network, times it, and keeps the numbers in `{name}.json`; with '
    '`--from {name}.json` it renders them again. To change what is measured, edit '
    '`studies/latency`.'
)
_READING = """\
- **paper** columns are printed in "Searching for MobileNetV3" (arXiv 1905.02244v5):
  accuracies, and latencies of phones. None of them was measured here.
- The other columns are medians of milliseconds here, for one picture and one thread.
  In brackets: in proportion to the first row, so that phone and CPU can be compared.
- Weights are random and input is noise: a convolution takes its time whatever the
  numbers. What is timed begins with the normalised picture and ends with the network's
  outputs.
- The networks of a table take turns, so that whatever else the machine does meets all
  alike. A turn is two calls, of which the second counts: it finds the caches as a
  repeated call leaves them. In Table 8 the networks of one backend take turns, since
  all of them would not fit into memory.
- **Spearman's rank correlation** is 1 where this CPU puts the networks in the order of
  the paper's phone, and -1 where it puts them in the reverse. Beside that of each
  backend stands that of MAdds, which is what counting alone would tell.
- A dash: not printed, or not measured.
"""

# Families in the order of their colours; others as they come.
_ORDER = {'V3': 0, 'MnasNet': 1, 'V2': 2, 'V1': 3}
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
STEPS = 'figure9'


def write_studies(results: Results, path: Path) -> list[Path]:
    """Writes the page, and its plots beside it.

    Args:
        results: What was measured, at least one study.
        path: Of the page, which appears whole or not at all, after its plots.

    Returns:
        The files that were written.

    Raises:
        UserError: When nothing was measured, or was of other networks than the
            studies have now, or when a file cannot be written.
    """
    known = {key: found for key, found in results.studies.items() if key in STUDIES}
    if not known:
        raise UserError('nothing was measured; run without --from')
    for key, measured in known.items():
        if not measured.fits(STUDIES[key]):
            raise UserError(
                f'what was measured of {STUDIES[key].title!r} has other rows than it '
                f'has now; measure it again: --study {key} --fresh'
            )
    plots = {key: f'{path.stem}_{key}.png' for key in known}
    text = render_page(results, path.with_suffix('').as_posix(), plots)
    figures = {
        name: draw_study(STUDIES[key], known[key]) for key, name in plots.items()
    }
    return write_page(path, text, figures)


def render_page(results: Results, name: str, plots: dict[str, str]) -> str:
    """The whole page.

    Args:
        results: What was measured, at least one study.
        name: The page's path without its ending, for the commands that it shows.
        plots: File name of a study's plot, by the study's key.
    """
    found = [
        (study, results.studies[key])
        for key, study in STUDIES.items()
        if key in results.studies
    ]
    return '\n'.join(
        [
            "# The paper's latency studies, on a CPU\n",
            wrap_text(_ORIGIN.format(name=name)),
            _READING,
            *_machines([measured for _, measured in found]),
            *_overview(found),
            *(_section(study, measured, plots[study.key]) for study, measured in found),
        ]
    )


def correlation_lines(results: Results) -> Iterator[str]:
    """A line for each study: its rank correlations."""
    for key, study in STUDIES.items():
        if key in results.studies:
            yield _correlation_line(study, results.studies[key])


def _machines(found: Sequence[Measured]) -> Iterator[str]:
    """Describes the machine; several where studies were measured on several."""
    lines = dict.fromkeys(
        f'Measured on {measured.date}: {machine_line(measured.machine)}.'
        for measured in found
    )
    notes = dict.fromkeys(note for measured in found for note in measured.notes)
    yield '## The machine\n'
    yield from map(wrap_text, lines)
    yield from (wrap_text(f'{note}.') for note in notes)


def _overview(found: Sequence[tuple[Study, Measured]]) -> Iterator[str]:
    """One table of all correlations, where there are any."""
    used = {name for _, measured in found for name in measured.backends}
    columns = [name for name in TITLES if name in used or name == 'MAdds']
    rows = []
    for study, measured in found:
        values = correlations(study, measured)
        if any(value is not None for value in values.values()):
            cells = [_number(values.get(name)) for name in columns]
            rows.append([_short(study), str(compared(study)), *cells])
    if rows:
        header = ['study', 'networks', *(TITLES[name] for name in columns)]
        yield '## Rank correlations\n'
        yield markdown_table(header, rows)


def _section(study: Study, measured: Measured, plot: str) -> str:
    parts = [
        f'## {study.title}\n',
        wrap_text(study.about),
        picture(study.title, plot),
        _table(study, measured),
        wrap_text(_correlation_line(study, measured)),
        wrap_text(_spread_line(measured)),
    ]
    if study.contrasts:
        parts += [
            'Time of the first against that of the second:\n',
            _changes(study, measured),
        ]
    return '\n'.join(parts)


def _table(study: Study, measured: Measured) -> str:
    header = [*study.labels]
    if study.accuracy:
        header.append(f'paper: {study.accuracy}')
    header += [f'paper: {column}' for column in study.columns]
    header += ['params M', 'MAdds M']
    header += [TITLES[backend] for backend in measured.backends]
    columns = [
        *(_printed_cells(printed_column(study, i)) for i in range(len(study.columns))),
        [f'{timed.params / 1e6:.2f}' for timed in measured.networks],
        [f'{timed.madds / 1e6:,.0f}' for timed in measured.networks],
        *(_time_cells(median_column(measured, name)) for name in measured.backends),
    ]
    rows = []
    for entry, cells in zip(study.entries, zip(*columns)):
        accuracy = DASH if entry.accuracy is None else f'{entry.accuracy:.1f}'
        rows.append([*entry.labels, *([accuracy] if study.accuracy else ()), *cells])
    return markdown_table(header, rows)


def _time_cells(column: Sequence[float | None]) -> list[str]:
    """Milliseconds, and the proportion to the first row."""
    return [
        DASH if ms is None else f'{_digits(ms)} ({_proportion(ms, column[0])})'
        for ms in column
    ]


def _printed_cells(column: Sequence[float | None]) -> list[str]:
    return [
        DASH if ms is None else f'{ms:g} ({_proportion(ms, column[0])})'
        for ms in column
    ]


def _proportion(ms: float, first: float | None) -> str:
    return f'{ms / first:.2f}' if first else DASH


def _digits(ms: float) -> str:
    """Three digits, more where they stand before the point."""
    return f'{ms:.2f}' if ms < 10 else f'{ms:.1f}' if ms < 100 else f'{ms:.0f}'


def _correlation_line(study: Study, measured: Measured) -> str:
    values = {
        TITLES[name]: value for name, value in correlations(study, measured).items()
    }
    number = compared(study)
    if all(value is None for value in values.values()):
        return (
            f'{_short(study)}: the paper prints too few latencies for a rank '
            f'correlation ({number}).'
        )
    listed = ', '.join(f'{name} {_number(value)}' for name, value in values.items())
    return (
        f"{_short(study)}: Spearman's rank correlation with {study.columns[0][:-3]} "
        f'over {number} networks: {listed}.'
    )


def _spread_line(measured: Measured) -> str:
    widest = ', '.join(
        f'{TITLES[name]} {spread(measured, name):.0%}' for name in measured.backends
    )
    return (
        f'Medians of {measured.runs} runs. The middle four fifths of the runs span, of '
        f'the median, at most: {widest}.'
    )


def _changes(study: Study, measured: Measured) -> str:
    header = ['', f'paper: {study.columns[0][:-3]}']
    header += [TITLES[name] for name in measured.backends]
    rows = [[text, *map(_percent, values)] for text, values in changes(study, measured)]
    return markdown_table(header, rows)


def _percent(value: float | None) -> str:
    # Nought has no sign of its own.
    return DASH if value is None else f'{round(100 * value) + 0:+d} %'


def _short(study: Study) -> str:
    return study.title.partition(':')[0]


def _number(value: float | None) -> str:
    return DASH if value is None else f'{value:.2f}'


def draw_study(study: Study, measured: Measured) -> Figure:
    """Draws a study."""
    draw = _draw_steps if study.key == STEPS else _draw_frontiers
    return draw(study, measured)


def _draw_frontiers(study: Study, measured: Measured) -> Figure:
    """A part for the paper and one for every backend, of one height."""
    panels = [(f'paper: {study.columns[0]}', printed_column(study))]
    panels += [
        (f'{TITLES[name]}, ms', median_column(measured, name))
        for name in measured.backends
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
    axes: Axes, study: Study, column: Sequence[float | None], span: float
) -> None:
    """Draws a column of latencies in a part that is made for such a span of them."""
    families: dict[str, list[tuple[float, float, str]]] = {}
    for entry, ms in zip(study.entries, column):
        if ms is not None and entry.accuracy is not None:
            family, name = study.family(entry.labels)
            families.setdefault(family, []).append((entry.accuracy, ms, name))
    names = sorted(families, key=lambda name: _ORDER.get(name, 0))
    for place, (family, colour) in enumerate(zip(names, COLOURS)):
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
    use_log_axis(axes, ticks, decade=True)
    axes.set_xlim(middle / reach, middle * reach)
    axes.margins(y=0.1)


def _ends(study: Study, column: Sequence[float | None]) -> tuple[float, float]:
    """The least and the most of what is drawn, which has an accuracy."""
    drawn = [ms for entry, ms in zip(study.entries, column) if ms and entry.accuracy]
    return min(drawn), max(drawn)


def _draw_steps(study: Study, measured: Measured) -> Figure:
    """A line for every backend, from the first network down to the last."""
    figure = new_figure(9, 4)
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
