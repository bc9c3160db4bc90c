"""The way of a search, beside uniform width multipliers."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from mmnv3.files import whole_or_absent
from mmnv3.search.netadapt.store import Point, Step


def plot_trajectory(
    path: Path,
    steps: Sequence[Step],
    uniform: Sequence[Point] = (),
    target: float | None = None,
    metric: str = 'accuracy',
) -> None:
    """Draws accuracy over latency.

    Args:
        path: Of the PNG, which appears whole or not at all.
        steps: The steps, the seed first; their other proposals are drawn faintly.
        uniform: Networks under a width multiplier; those that were not trained are
            marked on the axis of latency.
        target: Microseconds.
        metric: What the accuracy is.
    """
    figure = Figure(figsize=(8, 5), layout='constrained')
    FigureCanvasAgg(figure)
    axes = figure.subplots()
    others = [p for step in steps for p in step.others if p.accuracy is not None]
    axes.scatter(
        *_series(others), s=10, color='tab:blue', alpha=0.25, label='proposals'
    )
    axes.plot(
        *_series([step.winner for step in steps]),
        marker='o',
        color='tab:blue',
        label='NetAdapt',
    )
    trained = [point for point in uniform if point.accuracy is not None]
    if trained:
        # A multiplier of 1 is the seed.
        axes.plot(
            *_series([steps[0].winner, *trained]),
            marker='s',
            linestyle='--',
            color='tab:orange',
            label='width multiplier',
        )
    for point in uniform:
        axes.axvline(point.latency / 1000, color='tab:orange', alpha=0.25, linewidth=1)
        axes.annotate(
            point.name,
            (point.latency / 1000, 0.01),
            xycoords=('data', 'axes fraction'),
            rotation=90,
            fontsize=7,
            color='tab:orange',
        )
    if target is not None:
        axes.axvline(target / 1000, color='black', linestyle=':', label='target')
    axes.set(xlabel='latency by the table, ms', ylabel=f'{metric}, held out')
    axes.grid(alpha=0.3)
    axes.legend()
    with whole_or_absent(path) as partial:
        figure.savefig(partial, format='png', dpi=120)


def _series(points: Sequence[Point]) -> tuple[list[float], list[float]]:
    return [p.latency / 1000 for p in points], [p.accuracy for p in points]
