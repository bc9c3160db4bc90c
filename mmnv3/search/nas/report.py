"""What a search tells while it runs, and leaves at its end."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from rich.console import Console
from rich.table import Table

from mmnv3.arch import save_spec
from mmnv3.search.nas.history import Sample, best, pareto, writing
from mmnv3.search.nas.plot import plot_search
from mmnv3.search.nas.space import Space


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
    return f'{sample.index + 1}/{count}: {sample.latency / 1e3:.3f} ms, {found}'


def describe(space: Space, sample: Sample) -> str:
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
    target: float,
    accuracy: str,
    folder: Path,
) -> list[Path]:
    """Writes the best specification, those of the Pareto set, and the plot.

    Args:
        space: The space.
        samples: Of the search.
        target: Microseconds.
        accuracy: Name of the accuracy, for the plot.
        folder: Gets ``best.json``, ``pareto/SAMPLE.json`` and ``search.png``.

    Returns:
        The best specification and the plot.

    Raises:
        UserError: When something cannot be written, or no sample has an accuracy.
    """
    files = {folder / 'best.json': best(samples)}
    for sample in pareto(samples):
        files[folder / 'pareto' / f'{sample.index + 1}.json'] = sample
    for path, sample in files.items():
        with writing(path):
            path.parent.mkdir(parents=True, exist_ok=True)
            save_spec(space.decode(sample.tokens), path)
    plot = folder / 'search.png'
    plot_search(samples, target, accuracy, plot)
    return [folder / 'best.json', plot]


def print_pareto(space: Space, samples: Sequence[Sample], console: Console) -> None:
    """Prints the Pareto set; the best sample has a star."""
    top = best(samples)
    front = pareto(samples)
    table = Table(title='Pareto set')
    for name in ('sample', 'ms', 'accuracy', 'reward'):
        table.add_column(name, justify='right')
    table.add_column('stages')
    for sample in front if top in front else [top, *front]:
        table.add_row(
            f'{sample.index + 1}{"*" * (sample is top)}',
            f'{sample.latency / 1e3:.3f}',
            f'{sample.accuracy:.4f}',
            f'{sample.reward:.4f}',
            describe(space, sample),
        )
    console.print(table)
