"""NetAdapt applied to a config: what trains, and what is left of it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from mmengine.config import Config

from mmnv3.arch import load_spec, save_spec
from mmnv3.engine.launch import build_runner, set_resume
from mmnv3.errors import UserError
from mmnv3.files import whole_or_absent
from mmnv3.search.netadapt import store
from mmnv3.search.netadapt.comparison import FOLDER
from mmnv3.search.netadapt.configs import beside_config, with_spec
from mmnv3.search.netadapt.multipliers import thinnest_multiplier, uniform
from mmnv3.search.netadapt.plot import plot_trajectory
from mmnv3.search.netadapt.store import Point, Step
from mmnv3.search.netadapt.task import Job, Search
from mmnv3.search.netadapt.weights import inherit
from mmnv3.search.runs import Trial, metric_name, train_and_score

# Multipliers that the plot marks.
WIDTHS = (0.35, 0.5, 0.75)
FINAL = ('finetune', 'scratch')
# What a network's name gets by the file that it is written to.
_NAMES = {'found': 'netadapt', 'uniform': 'uniform'}


@dataclass(frozen=True)
class Trainer:
    """Trains a job's network with the weights that it inherits.

    Args:
        config: The seed's.
    """

    config: Config

    def __call__(self, job: Job) -> Trial:
        """Cuts the weights, trains and scores."""
        state = inherit(self.config, job.state, job.old, job.new)
        return train_and_score(
            with_spec(self.config, job.new), job.budget, job.work_dir, state
        )


def write_found(config: Config, search: Search, steps: Sequence[Step]) -> Path:
    """Writes what was found as files that every tool takes.

    Args:
        config: The seed's.
        search: The search.
        steps: Its steps, at least one after the seed.

    Returns:
        The path of ``found.py``; ``found.json`` (the architecture) and ``found.pth``
        lie beside it.
    """
    folder = store.step_dir(search.work_dir, steps[-1].number)
    return _write(config, search, 'found', folder / 'spec.json', folder / 'weights.pth')


def write_uniform(config: Config, search: Search) -> Path:
    """Writes the width multiplier that was compared likewise, as ``uniform.py``."""
    folder = search.work_dir / FOLDER
    return _write(config, search, 'uniform', folder / 'spec.json', folder / 'score.pth')


def _write(
    config: Config, search: Search, stem: str, spec_file: Path, weights: Path
) -> Path:
    spec = load_spec(spec_file)
    path = search.work_dir.resolve() / f'{stem}.py'
    with store.clear_disk_errors(search.work_dir):
        arch = path.with_suffix('.json')
        save_spec(replace(spec, name=f'{search.seed.name}_{_NAMES[stem]}'), arch)
        store.write_weights(path.with_suffix('.pth'), store.read_weights(weights))
        found = with_spec(config, spec, beside_config(arch.name))
        found.pop('work_dir', None)
        with whole_or_absent(path) as partial:
            partial.write_text(found.pretty_text, encoding='utf-8')
    return path


def plot(
    config: Config, search: Search, steps: Sequence[Step], compared: Point | None = None
) -> Path:
    """Draws the way of a search beside width multipliers.

    Args:
        config: The seed's.
        search: The search.
        steps: Its steps.
        compared: The multiplier that was trained, if any.

    Returns:
        The path of the picture.
    """
    points = [compared] if compared else []
    thinnest = thinnest_multiplier(search.seed) / 100
    for width in WIDTHS:
        if width >= thinnest:
            spec = uniform(search.seed, width, search.rules)
            points.append(Point(f'×{width:g}', search.price(spec)))
    path = search.work_dir / 'trajectory.png'
    with store.clear_disk_errors(search.work_dir):
        plot_trajectory(path, steps, points, search.target, metric_name(config))
    return path


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
    config = Config.fromfile(path)
    config.work_dir = str(path.with_name(f'{path.stem}_{how}'))
    set_resume(config, 'auto')
    if how == 'finetune' and not config.resume:
        config.load_from = str(path.with_suffix('.pth'))
    runner = build_runner(config)
    runner.train()
    return runner.val()[metric_name(config)]
