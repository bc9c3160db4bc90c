"""What a NAS tells while it runs, and leaves at its end."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from rich.console import Console
from rich.table import Table

from mmnv3.search.folder import Folder
from mmnv3.search.nas.search import Sample, pareto
from mmnv3.search.nas.space import Space

_DPI = 110
# Rewards of so many samples are averaged.
_WINDOW = 20


def sample_line(sample: Sample, count: int) -> str:
    """One line about a sample.

    Args:
        sample: The sample.
        count: Of how many.
    """
    found = (
        f'dropped: {sample.problem}'
        if sample.reward is None
        else f'accuracy {sample.accuracy:.4f}, reward {sample.reward:.4f}'
    )
    return f'{sample.index + 1}/{count}: {sample.latency_us / 1e3:.3f} ms, {found}'


def describe_stages(space: Space, sample: Sample) -> str:
    """A network in a line: layers, op, kernel, SE, skip and width of every stage."""
    parts = []
    for stage, chosen in zip(space.stages, space.settings(sample.tokens)):
        se = '+se' if chosen['se'] else ''
        skip = '' if chosen['residual'] else '-skip'
        layers = max(1, stage.layers + chosen['layers'])
        kernel, filters = chosen['kernel'], chosen['filters']
        parts.append(f'{layers}×{chosen["op"]}/k{kernel}{se}{skip}/w{filters:g}')
    return ' '.join(parts)


def write_results(
    space: Space,
    samples: Sequence[Sample],
    top: Sample,
    target_us: float,
    metric: str,
    work_dir: Path,
) -> list[Path]:
    """Writes the best specification, those of the Pareto set, and the plot.

    Args:
        space: The space.
        samples: Of the search.
        top: The best of them.
        target_us: The target latency.
        metric: Name of the accuracy, for the plot.
        work_dir: Gets ``best.json``, ``pareto/SAMPLE.json`` and ``search.png``.

    Returns:
        The best specification and the plot.

    Raises:
        UserError: When something cannot be written.
    """
    folder = Folder(work_dir)
    files = {'best.json': top}
    for sample in pareto(samples):
        files[f'pareto/{sample.index + 1}.json'] = sample
    for name, sample in files.items():
        folder.write_spec(name, space.decode(sample.tokens))
    figure = draw_samples(samples, top, target_us, metric)
    with folder.writing('search.png') as partial:
        figure.savefig(partial, format='png')
    return [work_dir / 'best.json', work_dir / 'search.png']


def print_samples(
    title: str,
    space: Space,
    samples: Sequence[Sample],
    top: Sample,
    console: Console,
) -> None:
    """Prints a table of samples, the best of which has a star."""
    table = Table(title=title)
    for name in ('sample', 'ms', 'accuracy', 'reward'):
        table.add_column(name, justify='right')
    table.add_column('stages')
    for sample in samples if top in samples else [top, *samples]:
        table.add_row(
            f'{sample.index + 1}{"*" * (sample == top)}',
            f'{sample.latency_us / 1e3:.3f}',
            _figure(sample.accuracy),
            _figure(sample.reward),
            describe_stages(space, sample),
        )
    console.print(table)


def _figure(value: float | None) -> str:
    return '' if value is None else f'{value:.4f}'


def draw_samples(
    samples: Sequence[Sample], top: Sample, target_us: float, metric: str
) -> Figure:
    """Draws the samples with their Pareto set, and how the reward went.

    Args:
        samples: Of the search; those without an accuracy are left out.
        top: The best of them.
        target_us: The target latency.
        metric: Name of the accuracy.
    """
    finite = [sample for sample in samples if sample.reward is not None]
    figure = Figure(figsize=(10, 4), dpi=_DPI, layout='constrained')
    FigureCanvasAgg(figure)
    left, right = figure.subplots(1, 2)
    _draw_latencies(left, finite, top, target_us)
    left.set_ylabel(metric)
    _draw_rewards(right, finite)
    return figure


def _draw_latencies(
    axes: Axes, samples: Sequence[Sample], top: Sample, target_us: float
) -> None:
    points = axes.scatter(
        *_series(samples),
        c=[sample.index for sample in samples],
        s=14,
    )
    axes.figure.colorbar(points, ax=axes, label='sample')
    axes.step(
        *_series(pareto(samples)),
        where='post',
        color='tab:red',
        lw=1,
        label='Pareto set',
    )
    axes.plot(*_series([top]), '*', color='tab:red', ms=12, label='best')
    axes.axvline(target_us / 1e3, color='grey', ls='--', lw=1, label='target')
    axes.set_xlabel('latency, ms')
    axes.grid(alpha=0.3)
    axes.legend(fontsize=8)


def _draw_rewards(axes: Axes, samples: Sequence[Sample]) -> None:
    order = [sample.index for sample in samples]
    rewards = np.array([sample.reward for sample in samples])
    sums = np.concatenate([[0], np.cumsum(rewards)])
    ends = np.arange(1, len(rewards) + 1)
    starts = np.maximum(0, ends - _WINDOW)
    axes.plot(order, rewards, '.', color='lightgrey', label='reward')
    axes.plot(
        order,
        (sums[ends] - sums[starts]) / (ends - starts),
        label=f'mean of the last {_WINDOW}',
    )
    axes.plot(order, np.maximum.accumulate(rewards), lw=1, label='best so far')
    axes.set_xlabel('sample')
    axes.set_ylabel('reward')
    axes.grid(alpha=0.3)
    axes.legend(fontsize=8)


def _series(samples: Sequence[Sample]) -> tuple[list[float], list[float]]:
    """Milliseconds and accuracies."""
    rows = [(s.latency_us / 1e3, s.accuracy) for s in samples if s.accuracy is not None]
    return [latency_ms for latency_ms, _ in rows], [accuracy for _, accuracy in rows]
