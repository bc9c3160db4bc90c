"""Tables, JSON and a bar chart of what was timed."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
from rich.console import Console
from rich.table import Table

from mmnv3.benchmark.latency import Summary
from mmnv3.benchmark.machine import machine_line
from mmnv3.benchmark.peak_memory import PeakMemory
from mmnv3.benchmark.subject import NETWORK, POST, STAGES, Subject
from mmnv3.files import whole_or_absent

_LEGEND = (
    'load: s until the first call is done; memory: peak MiB of a process that runs '
    'nothing else (in brackets: beyond its imports); size: MB of files, or of tensors; '
    'params and MAdds: millions'
)


@dataclass(frozen=True)
class Row:
    """A subject and what it took.

    Attributes:
        subject: The subject.
        times: Milliseconds of every run, by stage.
        memory: Its peak, where it is known.
    """

    subject: Subject
    times: dict[str, np.ndarray]
    memory: PeakMemory | None

    @property
    def whole(self) -> np.ndarray:
        """Milliseconds of every run, all stages together."""
        return sum(self.times.values())

    @property
    def pictures_per_second(self) -> float:
        """From the median."""
        return 1e3 * len(self.subject.pictures) / float(np.median(self.whole))

    def ratio(self, first: Row) -> float:
        """Time as a fraction of another's, the median over pairs of runs in turn."""
        return float(np.median(self.whole / first.whole))

    def to_dict(self, first: Row) -> dict[str, object]:
        """Everything, for JSON."""
        subject = self.subject
        return dict(
            model=subject.model,
            backend=subject.backend,
            precision=subject.precision,
            input_size=list(subject.size),
            batch=len(subject.pictures),
            load_seconds=subject.load_seconds,
            stages_ms={
                stage: asdict(Summary.of(times)) for stage, times in self.times.items()
            },
            whole_ms=asdict(Summary.of(self.whole)),
            pictures_per_second=self.pictures_per_second,
            to_the_first=self.ratio(first),
            peak_memory_mib=self.memory and asdict(self.memory),
            size_bytes=subject.file_bytes,
            params=subject.params,
            madds=subject.madds,
            runs_ms={stage: times.tolist() for stage, times in self.times.items()},
        )


def print_rows(
    rows: Sequence[Row],
    machine: dict[str, object],
    notes: Sequence[str],
    console: Console | None = None,
) -> None:
    """Prints two tables, what suppression costs, and what has to be said.

    Args:
        rows: At least one.
        machine: Of :func:`mmnv3.benchmark.machine.describe_machine`.
        notes: A line each.
        console: Where to; by default 120 columns of standard output.
    """
    console = console or Console(width=120, soft_wrap=False)
    console.print(_times_table(rows), _costs_table(rows))
    lines = [_LEGEND, *suppression_lines(rows), *notes, machine_line(machine)]
    for line in lines:
        console.print(line, highlight=False, markup=False, soft_wrap=True)


def _times_table(rows: Sequence[Row]) -> Table:
    stages = [stage for stage in STAGES if any(stage in row.times for row in rows)]
    title = '' if _several(rows) else f'{rows[0].subject.title}, '
    table = Table(
        title=f'{title}milliseconds a call, medians',
        title_justify='left',
    )
    _name_columns(table, rows)
    for name in (*stages, 'p50', 'p90', 'p99', 'spread', 'pictures/s', 'ratio'):
        table.add_column(name, justify='right')
    for row in rows:
        whole = Summary.of(row.whole)
        table.add_row(
            *_names(rows, row),
            *(
                f'{np.median(row.times[stage]):.2f}' if stage in row.times else ''
                for stage in stages
            ),
            *(f'{value:.2f}' for value in (whole.p50, whole.p90, whole.p99)),
            f'{whole.spread:.0%}',
            f'{row.pictures_per_second:.1f}',
            f'{row.ratio(rows[0]):.2f}',
        )
    return table


def _costs_table(rows: Sequence[Row]) -> Table:
    table = Table()
    _name_columns(table, rows)
    for name in ('input', 'load s', 'memory', 'size', 'params', 'MAdds'):
        table.add_column(name, justify='right')
    for row in rows:
        subject, memory = row.subject, row.memory
        width, height = subject.size
        table.add_row(
            *_names(rows, row),
            f'{len(subject.pictures)}×3×{height}×{width}',
            f'{subject.load_seconds:.2f}',
            f'{memory.total:.0f} ({memory.model:.0f})' if memory else '–',
            f'{subject.file_bytes / 1e6:.2f}',
            f'{subject.params / 1e6:.2f}',
            f'{subject.madds / 1e6:,.0f}' if subject.madds else '–',
        )
    return table


def _name_columns(table: Table, rows: Sequence[Row]) -> None:
    widest = max(len(row.subject.title) for row in rows)
    if _several(rows):
        table.add_column('model', overflow='fold', min_width=min(widest, 32))
    table.add_column('backend', no_wrap=True)


def _names(rows: Sequence[Row], row: Row) -> list[str]:
    model = [row.subject.title] if _several(rows) else []
    return [*model, row.subject.method]


def _several(rows: Sequence[Row]) -> bool:
    """Whether rows are of several models, which then have to be named."""
    return len({row.subject.model for row in rows}) > 1


def suppression_lines(rows: Sequence[Row]) -> list[str]:
    """What post-processing costs beside the network, a line for each row."""
    return [
        f'{row.subject.name}: post-processing is '
        f'{np.median(row.times[POST]) / np.median(row.times[NETWORK]):.1%} '
        'of the network'
        for row in rows
        if POST in row.times
    ]


def write_json(
    path: Path,
    rows: Sequence[Row],
    machine: dict[str, object],
    settings: dict[str, object],
    notes: Sequence[str],
) -> None:
    """Writes everything that was measured.

    Args:
        path: File to write; it appears whole or not at all.
        rows: At least one.
        machine: Of :func:`mmnv3.benchmark.machine.describe_machine`.
        settings: How it was measured.
        notes: A line each.
    """
    found = dict(
        machine=machine,
        settings=settings,
        rows=[row.to_dict(rows[0]) for row in rows],
        notes=list(notes),
    )
    with whole_or_absent(path) as partial:
        Path(partial).write_text(json.dumps(found, indent=2) + '\n')


def plot_rows(path: Path, rows: Sequence[Row], machine: dict[str, object]) -> None:
    """Draws a bar for each row, its stages end to end.

    Args:
        path: Picture to write; its ending says which kind.
        rows: At least one.
        machine: Of :func:`mmnv3.benchmark.machine.describe_machine`.
    """
    from matplotlib.figure import Figure

    colours = dict(zip(STAGES, ('#8ecae6', '#219ebc', '#fb8500', '#219ebc')))
    figure = Figure(figsize=(9, 1.6 + 0.42 * len(rows)), layout='constrained', dpi=120)
    axes = figure.subplots()
    places = np.arange(len(rows))
    left = np.zeros(len(rows))
    for stage in STAGES:
        widths = np.array(
            [np.median(row.times.get(stage, np.zeros(1))) for row in rows]
        )
        if widths.any():
            axes.barh(places, widths, 0.7, left, color=colours[stage], label=stage)
            left += widths
    slow = np.array([Summary.of(row.whole).p90 for row in rows])
    axes.plot(slow, places, '|', color='black', markersize=12, label='p90')
    longest = max(left.max(), slow.max())
    for place, row, total in zip(places, rows, np.maximum(left, slow)):
        text = f'{np.median(row.whole):.1f}'
        axes.text(total + 0.01 * longest, place, text, va='center', fontsize=9)
    several = _several(rows)
    axes.set_yticks(
        places,
        [row.subject.name if several else row.subject.method for row in rows],
    )
    axes.invert_yaxis()
    axes.set_xlim(0, 1.1 * longest)
    axes.set_xlabel('milliseconds a call, median')
    axes.spines[['top', 'right']].set_visible(False)
    title = 'models' if several else rows[0].subject.title
    threads = machine['threads']
    axes.set_title(
        f'{title}: {machine.get("gpu", machine["processor"])}, '
        f'{threads} thread{"s" * (threads > 1)}',
        fontsize=10,
    )
    axes.legend(
        frameon=False,
        fontsize=9,
        loc='upper center',
        ncols=4,
        bbox_to_anchor=(0.5, -0.32 if len(rows) < 4 else -0.18),
    )
    with whole_or_absent(path) as partial:
        figure.savefig(partial, format=Path(path).suffix.lstrip('.') or 'png')
