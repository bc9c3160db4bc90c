"""How fast models train: with a batch at hand, and with their data pipeline."""

from __future__ import annotations

import json
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
from rich.console import Console
from rich.table import Table

from mmnv3.benchmark.latency import Summary
from mmnv3.benchmark.machine import machine_line
from mmnv3.benchmark.trainees import Trainee, batches
from mmnv3.errors import UserError
from mmnv3.files import whole_or_absent

# Times that the turn goes round while data is loaded.
_ROUNDS = 2


@dataclass(frozen=True)
class TrainingRow:
    """A model and how fast it trains.

    Attributes:
        trainee: The model.
        noise: Seconds of every iteration with the batch at hand, ``(runs,)``.
        data: Seconds of an iteration with the data pipeline, one number for each of
            its turns; None where there is no data.
    """

    trainee: Trainee
    noise: np.ndarray
    data: np.ndarray | None

    @property
    def images_per_second(self) -> float:
        """With the batch at hand."""
        return self.trainee.batch / float(np.median(self.noise))

    @property
    def images_per_second_with_data(self) -> float | None:
        """With the data pipeline."""
        if self.data is None:
            return None
        return self.trainee.batch / float(np.median(self.data))

    def to_dict(self, first: TrainingRow) -> dict[str, object]:
        """Everything, for JSON."""
        trainee = self.trainee
        return dict(
            model=trainee.model,
            input_size=list(trainee.size),
            batch=trainee.batch,
            iteration_seconds=asdict(Summary.of(self.noise)),
            images_per_second=self.images_per_second,
            images_per_second_with_data=self.images_per_second_with_data,
            speed_to_the_first=self.images_per_second / first.images_per_second,
            runs_seconds=self.noise.tolist(),
        )


def measure_steps(
    trainees: Sequence[Trainee], runs: int, warmup: int = 2
) -> list[np.ndarray]:
    """Times iterations with the batch at hand; the models take turns.

    Args:
        trainees: The models.
        runs: Measured iterations of each.
        warmup: Iterations before them that do not count.

    Returns:
        Seconds of every iteration, ``(runs,)``, of each model.
    """
    times = np.zeros((len(trainees), warmup + runs))
    for turn in range(warmup + runs):
        for index, trainee in enumerate(trainees):
            begin = time.perf_counter()
            trainee.step(trainee.noise)
            times[index, turn] = time.perf_counter() - begin
    return list(times[:, warmup:])


def measure_with_data(
    trainees: Sequence[Trainee], runs: int
) -> tuple[list[np.ndarray | None], list[str]]:
    """Times iterations with the configs' own data loaders.

    The models take turns of several iterations, since the loader of one works ahead
    while another is timed. What it has ready when a turn begins does not count.

    Args:
        trainees: The models.
        runs: Measured iterations of each.

    Returns:
        Seconds of an iteration in every turn, of each model, or None without data; and
        the reasons of the latter.
    """
    ready, reasons = {}, []
    for index, trainee in enumerate(trainees):
        if trainee.loader is None:
            reasons.append(f'{trainee.model}: --size leaves its data pipeline out')
            continue
        try:
            loader = trainee.loader()
        except UserError as error:
            reasons.append(str(error))
            continue
        ahead = loader.num_workers * (loader.prefetch_factor or 0) + 1
        ready[index] = batches(loader), ahead
    times: dict[int, list[float]] = {index: [] for index in ready}
    steps = max(1, runs // _ROUNDS)
    for _ in range(_ROUNDS):
        for index, (stream, ahead) in ready.items():
            for _ in range(ahead):
                trainees[index].step(next(stream))
            begin = time.perf_counter()
            for _ in range(steps):
                trainees[index].step(next(stream))
            times[index].append((time.perf_counter() - begin) / steps)
    found = [
        np.array(times[index]) if index in times else None
        for index in range(len(trainees))
    ]
    return found, list(dict.fromkeys(reasons))


def print_training(
    rows: Sequence[TrainingRow],
    machine: dict[str, object],
    notes: Sequence[str],
    console: Console | None = None,
) -> None:
    """Prints a table and what has to be said.

    Args:
        rows: At least one.
        machine: Of :func:`mmnv3.benchmark.machine.describe_machine`.
        notes: A line each.
        console: Where to; by default 120 columns of standard output.
    """
    console = console or Console(width=120)
    table = Table(title='training: an iteration in seconds', title_justify='left')
    widest = max(len(row.trainee.title) for row in rows)
    table.add_column('model', overflow='fold', min_width=min(widest, 44))
    for name in (
        'input',
        'p50',
        'p90',
        'spread',
        'images/s',
        'speed',
        'images/s with data',
        'speed',
    ):
        table.add_column(name, justify='right')
    first = rows[0]
    for row in rows:
        width, height = row.trainee.size
        summary = Summary.of(row.noise)
        with_data = row.images_per_second_with_data
        reference = first.images_per_second_with_data
        table.add_row(
            row.trainee.title,
            f'{row.trainee.batch}×3×{height}×{width}',
            f'{summary.p50:.3f}',
            f'{summary.p90:.3f}',
            f'{summary.spread:.0%}',
            f'{row.images_per_second:.1f}',
            f'{row.images_per_second / first.images_per_second:.2f}',
            f'{with_data:.1f}' if with_data else '–',
            f'{with_data / reference:.2f}' if with_data and reference else '–',
        )
    console.print(table)
    for line in (*notes, machine_line(machine)):
        console.print(line, highlight=False, markup=False, soft_wrap=True)


def write_training_json(
    path: Path,
    rows: Sequence[TrainingRow],
    machine: dict[str, object],
    settings: dict[str, object],
    notes: Sequence[str],
) -> None:
    """Writes everything that was measured; the file appears whole or not at all."""
    found = dict(
        machine=machine,
        settings=settings,
        rows=[row.to_dict(rows[0]) for row in rows],
        notes=list(notes),
    )
    with whole_or_absent(path) as partial:
        Path(partial).write_text(json.dumps(found, indent=2) + '\n')


def plot_training(
    path: Path, rows: Sequence[TrainingRow], machine: dict[str, object]
) -> None:
    """Draws two bars for each model: images a second, without and with data."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(9, 1.5 + 0.6 * len(rows)), layout='constrained', dpi=120)
    axes = figure.subplots()
    places = np.arange(len(rows))
    parts = {
        'a batch at hand': [row.images_per_second for row in rows],
        'with the data pipeline': [
            row.images_per_second_with_data or 0 for row in rows
        ],
    }
    for (label, speeds), offset, colour in zip(
        parts.items(), (-0.19, 0.19), ('#219ebc', '#fb8500')
    ):
        if any(speeds):
            bars = axes.barh(places + offset, speeds, 0.36, color=colour, label=label)
            axes.bar_label(bars, fmt='%.1f', padding=3, fontsize=9)
    axes.set_yticks(places, [row.trainee.title for row in rows])
    axes.invert_yaxis()
    axes.margins(x=0.1)
    axes.set_xlabel('training images a second')
    axes.spines[['top', 'right']].set_visible(False)
    axes.set_title(
        f'batch {rows[0].trainee.batch}, {machine.get("gpu", machine["processor"])}, '
        f'{machine["threads"]} threads',
        fontsize=10,
    )
    figure.legend(frameon=False, fontsize=9, loc='outside lower center', ncols=2)
    with whole_or_absent(path) as partial:
        figure.savefig(partial, format=path.suffix.lstrip('.'))
