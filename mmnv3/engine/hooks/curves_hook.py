"""Draws the course of training."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from mmengine.dist import is_main_process
from mmengine.hooks import Hook
from mmengine.runner import Runner

from mmnv3.files import whole_or_absent
from mmnv3.registry import HOOKS

_METRICS = (
    'coco/bbox_mAP',
    'coco/bbox_mAP_50',
    'mIoU',
    'accuracy/top1',
    'accuracy/top5',
)


@HOOKS.register_module()
class CurvesHook(Hook):
    """Keeps ``curves.png`` in the work directory: losses and validation metrics.

    The history is mmengine's own, which its checkpoints hold, so a resumed training
    goes on drawing the same curves. It is redrawn after every validation.

    Args:
        metrics: Validation metrics to draw, as far as they occur.
    """

    priority = 'VERY_LOW'
    _points = 'curve_of_validation'

    def __init__(self, metrics: tuple[str, ...] = _METRICS) -> None:
        self.metrics = tuple(metrics)
        self._drawn_at: int | None = None

    def after_val_epoch(
        self, runner: Runner, metrics: dict[str, float] | None = None
    ) -> None:
        """Notes the metrics of a validation and redraws."""
        hub = runner.message_hub
        values = {
            name: float(value)
            for name, value in (metrics or {}).items()
            if name in self.metrics
        }
        points = hub.get_info(self._points, None) or []
        hub.update_info(self._points, [*points, (runner.iter, values)])
        self._draw(runner)

    def after_train(self, runner: Runner) -> None:
        """Draws the final state, unless the last validation has."""
        if runner.iter != self._drawn_at:
            self._draw(runner)

    def _draw(self, runner: Runner) -> None:
        self._drawn_at = runner.iter
        if is_main_process():
            hub = runner.message_hub
            losses = {
                name.removeprefix('train/'): buffer.data[0]
                for name, buffer in hub.log_scalars.items()
                if name.startswith('train/') and 'loss' in name
            }
            draw_curves(
                losses,
                hub.get_info(self._points, None) or [],
                Path(runner.work_dir) / 'curves.png',
            )


def draw_curves(
    losses: dict[str, np.ndarray],
    points: list[tuple[int, dict[str, float]]],
    path: Path,
) -> None:
    """Writes a picture of losses by iteration and of metrics by iteration.

    Args:
        losses: Of every iteration, by name; smoothed over a fiftieth of the course.
        points: Iterations and the metrics validated there.
        path: Of the PNG, which appears whole or not at all.
    """
    # To look for margins would take as long as to draw twice more.
    margins = dict(left=0.07, right=0.985, bottom=0.12, top=0.92, wspace=0.16)
    figure = Figure(figsize=(10, 4))
    FigureCanvasAgg(figure)
    left, right = figure.subplots(1, 2, gridspec_kw=margins)
    for name, values in sorted(losses.items()):
        window = max(1, len(values) // 50)
        smooth = np.convolve(values, np.ones(window) / window, 'valid')
        left.plot(np.arange(len(smooth)) + window, smooth, label=name)
    left.set(title='Training loss', xlabel='iteration', yscale='log')
    for name in sorted({name for _, values in points for name in values}):
        known = [(step, values[name]) for step, values in points if name in values]
        step, best = max(known, key=lambda point: point[1])
        label = f'{name}, best {best:.3f} at {step}'
        (line,) = right.plot(*zip(*known), marker='.', label=label)
        right.plot(step, best, marker='*', markersize=12, color=line.get_color())
    right.set(title='Validation', xlabel='iteration', ylim=(0, None))
    for axes in (left, right):
        axes.grid(alpha=0.3)
        if axes.lines:
            axes.legend()
    with whole_or_absent(path) as partial:
        figure.savefig(partial, format='png', dpi=120)
