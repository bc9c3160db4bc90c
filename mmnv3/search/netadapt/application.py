"""NetAdapt applied to a config: what trains, what prices, and what is left of it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

from mmengine.config import Config

from mmnv3.analysis.toolbox_subjects import toolbox_size
from mmnv3.arch import NetSpec, load_spec, save_spec
from mmnv3.atomic import whole_or_absent
from mmnv3.engine.launch import build_runner, set_resume
from mmnv3.errors import UserError
from mmnv3.search.netadapt import store
from mmnv3.search.netadapt.configs import build, with_spec
from mmnv3.search.netadapt.multipliers import uniform
from mmnv3.search.netadapt.plot import plot_trajectory
from mmnv3.search.netadapt.proposals import Price
from mmnv3.search.netadapt.store import Point, Step
from mmnv3.search.netadapt.task import Job, Search
from mmnv3.search.netadapt.weights import inherit
from mmnv3.search.runs import Trial, metric_name, train_and_score

if TYPE_CHECKING:
    from mmnv3.search.latency.table import LatencyTable

# Multipliers that the plot marks.
WIDTHS = (0.35, 0.5, 0.75)
FINAL = ('finetune', 'scratch')


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


def config_price(
    config: Config, table: LatencyTable, size: tuple[int, int] | None = None
) -> Price:
    """The price of a network with the neck and head of a config.

    Args:
        config: The config.
        table: Layers by microseconds.
        size: (width, height) of the picture; the config's own by default.

    Returns:
        Microseconds of a specification; asked twice it is counted once.
    """
    size = toolbox_size(config, (224, 224), size)

    @cache
    def price(spec: NetSpec) -> float:
        return float(table.price_model(build(with_spec(config, spec)), size))

    return price


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
    spec = load_spec(folder / 'spec.json')
    path = search.work_dir.resolve() / 'found.py'
    with store.clear_disk_errors(search.work_dir):
        arch = path.with_suffix('.json')
        save_spec(replace(spec, name=f'{search.seed.name}_netadapt'), arch)
        weights = store.read_weights(folder / 'weights.pth')
        store.write_weights(path.with_suffix('.pth'), weights)
        found = with_spec(config, spec, arch=str(arch))
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
    thinnest = min(search.seed.stem.out, *(b.out for b in search.seed.blocks))
    for width in WIDTHS:
        if thinnest * width >= 4:
            spec = uniform(search.seed, width, search.rules)
            points.append(Point(f'×{width:g}', search.price(spec)))
    path = search.work_dir / 'trajectory.png'
    with store.clear_disk_errors(search.work_dir):
        plot_trajectory(path, steps, points, search.target, metric_name(config))
    return path


def train_found(found: Path, how: str) -> Path:
    """Trains what was found by its config's own schedule, or goes on doing so.

    Args:
        found: ``found.py`` of :func:`write_found`.
        how: ``'finetune'`` starts from the inherited weights, ``'scratch'`` from
            nothing, as the paper does.

    Returns:
        The work directory of the training.

    Raises:
        UserError: For any other way.
    """
    if how not in FINAL:
        raise UserError(f'{how!r} is unknown; possible: {", ".join(FINAL)}')
    config = Config.fromfile(found)
    config.work_dir = str(found.parent / how)
    set_resume(config, 'auto')
    if how == 'finetune' and not config.resume:
        config.load_from = str(found.with_suffix('.pth'))
    build_runner(config).train()
    return Path(config.work_dir)
