"""The page: what was measured beside what the paper prints, and what follows."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from scipy.stats import spearmanr

from mmnv3.benchmark.machine import machine_line
from mmnv3.errors import UserError
from studies import page
from studies.latency.plots import TITLES, draw_study
from studies.latency.results import Measured
from studies.latency.studies import STUDIES, Study
from studies.page import DASH, markdown_table, wrap_text

# With fewer networks any order is likely.
_LEAST_NETWORKS = 3

Column = Sequence[float | None]

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


def write_page(results: Mapping[str, Measured], path: Path) -> list[Path]:
    """Writes the page, and its plots beside it.

    Args:
        results: What was measured, at least one study, by key.
        path: Of the page.

    Returns:
        The files that were written.

    Raises:
        UserError: When nothing was measured, or was of other networks than the
            studies have now, or when a file cannot be written.
    """
    found = _known(results)
    if not found:
        raise UserError('nothing was measured; run without --from')
    for study, measured in found:
        if not measured.fits(study):
            raise UserError(
                f'what was measured of {study.title!r} has other rows than it has now; '
                f'measure it again: --study {study.key} --fresh'
            )
    plots = {
        _plot_name(path, study): draw_study(study, measured)
        for study, measured in found
    }
    return page.write_page(path, render_page(results, path), plots)


def render_page(results: Mapping[str, Measured], path: Path) -> str:
    """The whole page.

    Args:
        results: What was measured, by the study's key.
        path: Of the page, for its plots' names and the commands that it shows.
    """
    found = _known(results)
    return '\n'.join(
        [
            "# The paper's latency studies, on a CPU\n",
            wrap_text(_ORIGIN.format(name=path.with_suffix('').as_posix())),
            _READING,
            *_machines([measured for _, measured in found]),
            *_overview(found),
            *(
                _section(study, measured, _plot_name(path, study))
                for study, measured in found
            ),
        ]
    )


def correlation_lines(results: Mapping[str, Measured]) -> Iterator[str]:
    """A line for each study: its rank correlations."""
    return (_correlation_line(*pair) for pair in _known(results))


def correlate(one: Column, other: Column) -> float | None:
    """Spearman's rank correlation of two columns, where both have numbers.

    Returns:
        From -1 to 1; None where fewer than three networks have both, or where one
        column has a single value.
    """
    both = [(a, b) for a, b in zip(one, other) if a is not None and b is not None]
    if len(both) < _LEAST_NETWORKS or any(len(set(side)) == 1 for side in zip(*both)):
        return None
    found = float(spearmanr(*zip(*both)).statistic)
    return None if math.isnan(found) else found


def correlations(study: Study, measured: Measured) -> dict[str, float | None]:
    """Every backend's rank correlation with the first printed column, and MAdds'."""
    columns = {name: measured.median_ms(name) for name in measured.backends}
    columns['MAdds'] = measured.madds()
    printed = study.printed_ms()
    return {name: correlate(column, printed) for name, column in columns.items()}


def changes(study: Study, measured: Measured) -> Iterator[tuple[str, list]]:
    """Sets networks against each other as the study's contrasts say.

    Yields:
        A contrast's text, and the new network's time over the old one's, less one: as
        printed, then by backend; None where one of them has no time.
    """
    places = {entry.labels: index for index, entry in enumerate(study.entries)}
    columns = [study.printed_ms(), *map(measured.median_ms, measured.backends)]
    for contrast in study.contrasts:
        new, old = places[contrast.new], places[contrast.old]
        yield (
            contrast.text,
            [
                column[new] / column[old] - 1 if column[new] and column[old] else None
                for column in columns
            ],
        )


def _known(results: Mapping[str, Measured]) -> list[tuple[Study, Measured]]:
    """The studies that were measured, in their order."""
    return [(study, results[key]) for key, study in STUDIES.items() if key in results]


def _plot_name(path: Path, study: Study) -> str:
    return f'{path.stem}_{study.key}.png'


def _machines(found: Sequence[Measured]) -> Iterator[str]:
    """Describes the machine; several where studies were measured on several."""
    lines = dict.fromkeys(
        f'Measured on {measured.date}: {machine_line(measured.machine)}.'
        for measured in found
    )
    notes = dict.fromkeys(f'{note}.' for measured in found for note in measured.notes)
    yield '## The machine\n'
    yield from map(wrap_text, [*lines, *notes])


def _overview(found: Sequence[tuple[Study, Measured]]) -> Iterator[str]:
    """One table of all correlations, where there are any."""
    used = {'MAdds', *(name for _, measured in found for name in measured.backends)}
    columns = [name for name in TITLES if name in used]
    rows = []
    for study, measured in found:
        values = correlations(study, measured)
        if any(value is not None for value in values.values()):
            cells = [_number(values.get(name)) for name in columns]
            rows.append([study.short_title, str(_compared(study)), *cells])
    if rows:
        header = ['study', 'networks', *(TITLES[name] for name in columns)]
        yield '## Rank correlations\n'
        yield markdown_table(header, rows)


def _section(study: Study, measured: Measured, plot: str) -> str:
    parts = [
        f'## {study.title}\n',
        wrap_text(study.about),
        f'![{study.title}]({plot})\n',
        _table(study, measured),
        wrap_text(_correlation_line(study, measured)),
        wrap_text(_spread_line(measured)),
    ]
    if study.contrasts:
        parts.append('Time of the first against that of the second:\n')
        parts.append(_changes_table(study, measured))
    return '\n'.join(parts)


def _table(study: Study, measured: Measured) -> str:
    header = [
        *study.labels,
        *(f'paper: {column}' for column in (study.accuracy, *study.columns)),
        'params M',
        'MAdds M',
        *(TITLES[backend] for backend in measured.backends),
    ]
    accuracies = [entry.accuracy for entry in study.entries]
    columns = [
        *zip(*(entry.labels for entry in study.entries)),
        [DASH if value is None else f'{value:.1f}' for value in accuracies],
        *(
            _time_cells(study.printed_ms(index), 'g')
            for index in range(len(study.columns))
        ),
        [f'{timed.params / 1e6:.2f}' for timed in measured.networks],
        [f'{timed.madds / 1e6:,.0f}' for timed in measured.networks],
        *(_time_cells(measured.median_ms(name)) for name in measured.backends),
    ]
    return markdown_table(header, list(zip(*columns)))


def _time_cells(column: Column, form: str = '') -> list[str]:
    """Milliseconds in a form, or with three digits; in brackets over the first row's.

    More digits than three where they stand before the point.
    """
    cells = []
    for ms in column:
        if ms is None:
            cells.append(DASH)
            continue
        digits = '.2f' if ms < 10 else '.1f' if ms < 100 else '.0f'
        proportion = f'{ms / column[0]:.2f}' if column[0] else DASH
        cells.append(f'{ms:{form or digits}} ({proportion})')
    return cells


def _compared(study: Study) -> int:
    """Networks of the first printed column."""
    return sum(ms is not None for ms in study.printed_ms())


def _correlation_line(study: Study, measured: Measured) -> str:
    values = correlations(study, measured)
    number = _compared(study)
    if all(value is None for value in values.values()):
        return (
            f'{study.short_title}: the paper prints too few latencies for a rank '
            f'correlation ({number}).'
        )
    listed = ', '.join(
        f'{TITLES[key]} {_number(value)}' for key, value in values.items()
    )
    return (
        f"{study.short_title}: Spearman's rank correlation with {study.printed_by} "
        f'over {number} networks: {listed}.'
    )


def _spread_line(measured: Measured) -> str:
    widest = ', '.join(
        f'{TITLES[name]} {measured.widest_spread(name):.0%}'
        for name in measured.backends
    )
    return (
        f'Medians of {measured.runs} runs. The middle four fifths of the runs span, of '
        f'the median, at most: {widest}.'
    )


def _changes_table(study: Study, measured: Measured) -> str:
    header = ['', f'paper: {study.printed_by}']
    header += [TITLES[name] for name in measured.backends]
    rows = [[text, *map(_percent, values)] for text, values in changes(study, measured)]
    return markdown_table(header, rows)


def _percent(value: float | None) -> str:
    # Nought has no sign of its own.
    return DASH if value is None else f'{round(100 * value) + 0:+d} %'


def _number(value: float | None) -> str:
    return DASH if value is None else f'{value:.2f}'
