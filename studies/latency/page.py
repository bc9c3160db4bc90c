"""The page: what was measured beside what the paper prints, in Markdown."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from mmnv3.benchmark.machine import machine_line
from studies.latency.findings import (
    changes,
    compared,
    correlations,
    median_column,
    printed_column,
    spread,
)
from studies.latency.results import Measured, Results
from studies.latency.studies import STUDIES
from studies.latency.study import Study
from studies.page import markdown_table as markdown
from studies.page import wrap_text as wrap

TITLES = {
    'pytorch': 'PyTorch',
    'compile': 'torch.compile',
    'onnxruntime': 'ONNX Runtime',
    'openvino': 'OpenVINO',
    'litert': 'LiteRT',
    'MAdds': 'MAdds',
}
_DASH = '–'

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
            wrap(_ORIGIN.format(name=name)),
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
    yield from map(wrap, lines)
    yield from (wrap(f'{note}.') for note in notes)


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
        yield markdown(header, rows)


def _section(study: Study, measured: Measured, plot: str) -> str:
    parts = [
        f'## {study.title}\n',
        wrap(study.about),
        f'![{study.title}]({plot})\n',
        _table(study, measured),
        wrap(_correlation_line(study, measured)),
        wrap(_spread_line(measured)),
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
        accuracy = _DASH if entry.accuracy is None else f'{entry.accuracy:.1f}'
        rows.append([*entry.labels, *([accuracy] if study.accuracy else ()), *cells])
    return markdown(header, rows)


def _time_cells(column: Sequence[float | None]) -> list[str]:
    """Milliseconds, and the proportion to the first row."""
    return [
        _DASH if ms is None else f'{_digits(ms)} ({_proportion(ms, column[0])})'
        for ms in column
    ]


def _printed_cells(column: Sequence[float | None]) -> list[str]:
    return [
        _DASH if ms is None else f'{ms:g} ({_proportion(ms, column[0])})'
        for ms in column
    ]


def _proportion(ms: float, first: float | None) -> str:
    return f'{ms / first:.2f}' if first else _DASH


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
    return markdown(header, rows)


def _percent(value: float | None) -> str:
    # Nought has no sign of its own.
    return _DASH if value is None else f'{round(100 * value) + 0:+d} %'


def _short(study: Study) -> str:
    return study.title.partition(':')[0]


def _number(value: float | None) -> str:
    return _DASH if value is None else f'{value:.2f}'
