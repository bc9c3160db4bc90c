"""Tables, JSON and bar charts of what was timed, for latency and for training."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from rich.console import Console
from rich.table import Table

from mmnv3.benchmark.machine import machine_line
from mmnv3.errors import UserError
from mmnv3.files import whole_or_absent

PLOT_ENDINGS = ('.png', '.svg', '.pdf', '.jpg')
# Columns of a usual console, and of one that is wide enough for any table.
_WIDTH, _ROOMY = 120, 1000
# Letters of a model's name in a line.
_NAME_WIDTH = 44


class Row(Protocol):
    """A model and what was measured of it."""

    def to_dict(self, first: Any) -> dict[str, object]:
        """Everything, for JSON; ``first`` is the row that others are compared with."""


@dataclass(frozen=True)
class Bars:
    """Bars of one colour, one for each row of a chart.

    Attributes:
        label: What they show.
        lengths: (rows,).
        colour: As Matplotlib names it.
    """

    label: str
    lengths: np.ndarray
    colour: str


@dataclass(frozen=True)
class Chart:
    """A bar chart.

    Attributes:
        title: What it is about; the machine is added.
        axis: Label of the horizontal axis.
        names: Of the rows.
        bars: Of each row.
        stacked: Whether a row's bars stand end to end in place of one above the other.
        ticks: Marks beside stacked bars, (rows,), and their label.
    """

    title: str
    axis: str
    names: Sequence[str]
    bars: Sequence[Bars]
    stacked: bool = False
    ticks: tuple[str, np.ndarray] | None = None


@dataclass(frozen=True)
class Report:
    """What a run of ``tools/benchmark.py`` found.

    Attributes:
        rows: At least one.
        tables: What is printed of them.
        chart: What is drawn of them.
        machine: Of :func:`mmnv3.benchmark.machine.describe_machine`.
        settings: How it was measured.
        remarks: Lines about the tables.
        notes: Lines about what was left out or assumed.
    """

    rows: Sequence[Row]
    tables: Sequence[Table]
    chart: Chart
    machine: dict[str, Any]
    settings: dict[str, object]
    remarks: Sequence[str]
    notes: Sequence[str]

    def publish(self, json_path: Path | None, plot_path: Path | None) -> None:
        """Prints everything, and writes the files that are asked for."""
        # Of a table that is wider than its console the last columns would be cut off.
        roomy = Console(width=_ROOMY)
        needed = [roomy.measure(table).maximum for table in self.tables]
        console = Console(width=max(_WIDTH, *needed))
        console.print(*self.tables)
        for line in (*self.remarks, *self.notes, machine_line(self.machine)):
            console.print(line, highlight=False, markup=False, soft_wrap=True)
        if json_path:
            found = dict(
                machine=self.machine,
                settings=self.settings,
                rows=[row.to_dict(self.rows[0]) for row in self.rows],
                notes=list(self.notes),
            )
            with whole_or_absent(json_path) as partial:
                Path(partial).write_text(json.dumps(found, indent=2) + '\n')
        if plot_path:
            draw_chart(self.chart, self.machine, plot_path)


def check_plot(plot_path: Path | None) -> None:
    """Checks before minutes are spent whether a plot can be drawn as its name says.

    Raises:
        UserError: When its ending is of no kind of picture that can be.
    """
    if plot_path and plot_path.suffix not in PLOT_ENDINGS:
        *others, last = PLOT_ENDINGS
        raise UserError(f'--plot {plot_path} must end in {", ".join(others)} or {last}')


def make_table(
    headers: Sequence[str],
    rows: Sequence[Sequence[str]],
    title: str | None = None,
) -> Table:
    """A table of numbers, whose first columns may name models and backends.

    Args:
        headers: Of the columns; ``'model'`` and ``'backend'`` are no numbers.
        rows: Their cells.
        title: What stands above.
    """
    table = Table(title=title, title_justify='left')
    for header in headers:
        if header == 'model':
            table.add_column(header, overflow='fold', max_width=_NAME_WIDTH)
        elif header == 'backend':
            table.add_column(header, no_wrap=True)
        else:
            table.add_column(header, justify='right')
    for row in rows:
        table.add_row(*row)
    return table


def draw_chart(chart: Chart, machine: Mapping[str, Any], path: Path) -> None:
    """Draws a bar chart.

    Args:
        chart: What to draw.
        machine: Of :func:`mmnv3.benchmark.machine.describe_machine`.
        path: Picture to write; its ending says which kind.
    """
    from matplotlib.figure import Figure

    rows, bars = len(chart.names), [each for each in chart.bars if each.lengths.any()]
    figure = Figure(figsize=(9, 1.6 + 0.5 * rows), layout='constrained', dpi=120)
    axes = figure.subplots()
    places = np.arange(rows)
    ends = np.zeros(rows)
    for index, each in enumerate(bars):
        if chart.stacked:
            shift, height, left = 0.0, 0.7, ends
        else:
            height = 0.76 / len(bars)
            shift, left = (index - (len(bars) - 1) / 2) * height, np.zeros(rows)
        drawn = axes.barh(
            places + shift,
            each.lengths,
            height,
            left,
            color=each.colour,
            label=each.label,
        )
        ends = left + each.lengths
        if not chart.stacked:
            texts = [f'{length:.1f}' if length else '–' for length in each.lengths]
            axes.bar_label(drawn, texts, padding=3, fontsize=9)
    if chart.stacked:
        farthest = ends
        if chart.ticks:
            label, ticks = chart.ticks
            axes.plot(ticks, places, '|', color='black', markersize=12, label=label)
            farthest = np.maximum(ends, ticks)
        for place, (length, end) in enumerate(zip(ends, farthest)):
            text = f'{length:.1f}'
            room = 0.01 * farthest.max()
            axes.text(end + room, place, text, va='center', fontsize=9)
        axes.set_xlim(0, 1.1 * farthest.max())
    else:
        axes.margins(x=0.1)
    axes.set_yticks(places, chart.names)
    axes.invert_yaxis()
    axes.set_xlabel(chart.axis)
    axes.spines[['top', 'right']].set_visible(False)
    threads = machine['threads']
    axes.set_title(
        f'{chart.title}, {machine.get("gpu", machine["processor"])}, '
        f'{threads} thread{"s" * (threads > 1)}',
        fontsize=10,
    )
    figure.legend(frameon=False, fontsize=9, loc='outside lower center', ncols=4)
    with whole_or_absent(path) as partial:
        figure.savefig(partial, format=path.suffix.lstrip('.'))
