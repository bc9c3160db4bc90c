"""What is left of a NetAdapt search: configs, weights, a plot, final trainings."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from mmengine.config import Config

from mmnv3.engine.config import read_config
from mmnv3.engine.launch import build_runner, set_resume
from mmnv3.errors import UserError
from mmnv3.search.configs import beside_config, with_spec
from mmnv3.search.folder import Folder
from mmnv3.search.netadapt.comparison import FOLDER, thinnest_multiplier, uniform
from mmnv3.search.netadapt.search import (
    FinishedStep,
    NetAdaptTask,
    Point,
    step_name,
)
from mmnv3.search.trial import State, metric_name

# Multipliers that the plot marks.
WIDTHS = (0.35, 0.5, 0.75)
FINAL = ('finetune', 'scratch')
_TEACHER = 'mmnv3.DistillationHook'


def write_found(
    config: Config, task: NetAdaptTask, steps: Sequence[FinishedStep]
) -> Path:
    """Writes what was found as files that every tool takes.

    Args:
        config: The seed's.
        task: What was searched.
        steps: Its steps, at least one after the seed.

    Returns:
        The path of ``found.py``; ``found.json`` (the architecture) and ``found.pth``
        lie beside it.
    """
    step = step_name(steps[-1].number)
    return _write(
        config, task, 'found', 'netadapt', f'{step}/spec.json', f'{step}/weights.pth'
    )


def write_uniform(config: Config, task: NetAdaptTask) -> Path:
    """Writes the width multiplier that was compared likewise, as ``uniform.py``."""
    return _write(
        config, task, 'uniform', 'uniform', f'{FOLDER}/spec.json', f'{FOLDER}/score.pth'
    )


def write_teacher(config: Config, state: State, folder: Folder) -> Config:
    """Writes the seed as a teacher.

    Args:
        config: The seed's.
        state: Its weights.
        folder: Gets ``teacher.py`` and ``teacher.pth``.

    Returns:
        A config whose trainings learn from it.
    """
    folder.write_weights('teacher.pth', state)
    with folder.writing('teacher.py') as partial:
        partial.write_text(config.pretty_text, encoding='utf-8')
    config = copy.deepcopy(config)
    hook = dict(
        type=_TEACHER,
        config=str(folder.path.resolve() / 'teacher.py'),
        checkpoint=str(folder.path.resolve() / 'teacher.pth'),
    )
    config.custom_hooks = [*(config.get('custom_hooks') or []), hook]
    return config


def _write(
    config: Config,
    task: NetAdaptTask,
    stem: str,
    suffix: str,
    spec_file: str,
    weights: str,
) -> Path:
    """Writes files of one stem; the suffix is the network's name's."""
    folder = task.folder
    spec = folder.read_spec(spec_file)
    name = f'{task.seed.spec.name}_{suffix}'
    folder.write_spec(f'{stem}.json', replace(spec, name=name))
    folder.write_weights(f'{stem}.pth', folder.read_weights(weights))
    found = with_spec(config, spec, beside_config(f'{stem}.json'))
    found.pop('work_dir', None)
    for hook in found.get('custom_hooks') or []:
        if hook['type'] == _TEACHER:
            hook.config = beside_config('teacher.py')
            hook.checkpoint = beside_config('teacher.pth')
    with folder.writing(f'{stem}.py') as partial:
        partial.write_text(found.pretty_text, encoding='utf-8')
    return task.work_dir.resolve() / f'{stem}.py'


def plot_search(
    config: Config,
    task: NetAdaptTask,
    steps: Sequence[FinishedStep],
    compared: Point | None = None,
) -> Path:
    """Draws the way of a search beside width multipliers.

    Args:
        config: The seed's.
        task: What was searched.
        steps: Its steps.
        compared: The multiplier that was trained, if any.

    Returns:
        The path of the picture.
    """
    points = [compared] if compared else []
    thinnest = thinnest_multiplier(task.seed.spec) / 100
    for width in WIDTHS:
        if width >= thinnest:
            latency_us = task.price(uniform(task.seed, width).spec)
            points.append(Point(f'×{width:g}', latency_us))
    figure = draw_trajectory(steps, points, task.target_us, metric_name(config))
    with task.folder.writing('trajectory.png') as partial:
        figure.savefig(partial, format='png', dpi=120)
    return task.work_dir / 'trajectory.png'


def draw_trajectory(
    steps: Sequence[FinishedStep],
    multipliers: Sequence[Point],
    target_us: float,
    metric: str,
) -> Figure:
    """Draws accuracy over latency.

    Args:
        steps: The steps, the seed first; their other proposals are drawn faintly.
        multipliers: Networks under a width multiplier; those that were not trained
            are marked on the axis of latency.
        target_us: The target latency.
        metric: What the accuracy is.
    """
    figure = Figure(figsize=(8, 5), layout='constrained')
    FigureCanvasAgg(figure)
    axes = figure.subplots()
    others = [point for step in steps for point in step.others]
    axes.scatter(
        *_series(others), s=10, color='tab:blue', alpha=0.25, label='proposals'
    )
    axes.plot(
        *_series([step.winner for step in steps]),
        marker='o',
        color='tab:blue',
        label='NetAdapt',
    )
    if any(point.accuracy is not None for point in multipliers):
        # A multiplier of 1 is the seed.
        axes.plot(
            *_series([steps[0].winner, *multipliers]),
            marker='s',
            linestyle='--',
            color='tab:orange',
            label='width multiplier',
        )
    for point in multipliers:
        latency_ms = point.latency_us / 1000
        axes.axvline(latency_ms, color='tab:orange', alpha=0.25, linewidth=1)
        axes.annotate(
            point.name,
            (latency_ms, 0.01),
            xycoords=('data', 'axes fraction'),
            rotation=90,
            fontsize=7,
            color='tab:orange',
        )
    axes.axvline(target_us / 1000, color='black', linestyle=':', label='target')
    axes.set(xlabel='latency by the table, ms', ylabel=f'{metric}, held out')
    axes.grid(alpha=0.3)
    axes.legend()
    return figure


def _series(points: Sequence[Point]) -> tuple[list[float], list[float]]:
    """Milliseconds and accuracies of the networks that have one."""
    rows = [(p.latency_us / 1000, p.accuracy) for p in points if p.accuracy is not None]
    return [latency_ms for latency_ms, _ in rows], [accuracy for _, accuracy in rows]


def train_final(path: Path, how: str) -> float:
    """Trains a network by its config's own schedule, or goes on doing so.

    Args:
        path: ``found.py`` of :func:`write_found`, or ``uniform.py``.
        how: ``'finetune'`` starts from the inherited weights, ``'scratch'`` from
            nothing, as the paper does.

    Returns:
        The figure of the trained network on the config's validation set. Checkpoints
        and log are in the folder ``found_scratch``, named as the network and the way.

    Raises:
        UserError: For any other way.
    """
    if how not in FINAL:
        raise UserError(f'{how!r} is unknown; possible: {", ".join(FINAL)}')
    config = read_config(str(path))
    config.work_dir = str(path.with_name(f'{path.stem}_{how}'))
    set_resume(config, 'auto')
    if how == 'finetune' and not config.resume:
        config.load_from = str(path.with_suffix('.pth'))
    runner = build_runner(config)
    runner.train()
    return runner.val()[metric_name(config)]
