"""A picture of a search."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from mmnv3.files import whole_or_absent
from mmnv3.search.nas.history import Sample, best, pareto, writing

_DPI = 110
# Rewards of so many samples are averaged.
_WINDOW = 20


def plot_search(
    samples: Sequence[Sample], target: float, accuracy: str, path: Path
) -> None:
    """Draws the samples with their Pareto set, and how the reward went.

    Args:
        samples: Of the search; those without an accuracy are left out.
        target: Microseconds.
        accuracy: Name of the accuracy.
        path: The PNG file.

    Raises:
        UserError: When it cannot be written, or no sample has an accuracy.
    """
    finite = [sample for sample in samples if sample.reward is not None]
    figure = Figure(figsize=(10, 4), dpi=_DPI, layout='constrained')
    canvas = FigureCanvasAgg(figure)
    left, right = figure.subplots(1, 2)
    _draw_samples(left, finite, target)
    left.set_ylabel(accuracy)
    _draw_rewards(right, finite)
    with writing(path), whole_or_absent(path) as partial:
        canvas.print_png(partial)


def _draw_samples(axes: Axes, samples: Sequence[Sample], target: float) -> None:
    points = axes.scatter(
        [sample.latency / 1e3 for sample in samples],
        [sample.accuracy for sample in samples],
        c=[sample.index for sample in samples],
        s=14,
    )
    axes.figure.colorbar(points, ax=axes, label='sample')
    front = pareto(samples)
    axes.step(
        [sample.latency / 1e3 for sample in front],
        [sample.accuracy for sample in front],
        where='post',
        color='tab:red',
        lw=1,
        label='Pareto set',
    )
    top = best(samples)
    axes.plot(
        top.latency / 1e3, top.accuracy, '*', color='tab:red', ms=12, label='best'
    )
    axes.axvline(target / 1e3, color='grey', ls='--', lw=1, label='target')
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
