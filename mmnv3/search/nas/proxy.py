"""The accuracy of a network: a short training from scratch, scored on held-out data."""

from __future__ import annotations

import copy
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from mmengine.config import Config

from mmnv3.arch import NetSpec, find_taps, list_taps
from mmnv3.errors import UserError
from mmnv3.search.nas.search import Outcome
from mmnv3.search.netadapt.configs import config_spec, with_spec
from mmnv3.search.pool import Failure, run_jobs
from mmnv3.search.runs import METRICS, Budget, metric_name, train_and_score

# Toolboxes whose figure is of 100.
_PERCENT = (METRICS['mmseg'], METRICS['mmpretrain'])


def config_for(config: Config, spec: NetSpec, arch: str | None = None) -> Config:
    """A config with a sampled network in it.

    A tap such as ``'block6.depthwise'`` becomes the deepest of the same part and
    reduction, or the output of the deepest block of that reduction where the blocks
    have no such part.

    Args:
        config: The config; stays as it is.
        spec: The network.
        arch: The path of its file, if the config is to be written.

    Raises:
        UserError: When the backbone is not ours, or taps by ``out_indices``.
    """
    taps = sampled_taps(config, config_spec(config), spec)
    edited = copy.deepcopy(config)
    if 'out_taps' in edited.model.backbone:
        edited.model.backbone.out_taps = taps
    return with_spec(edited, spec, arch)


def sampled_taps(config: Config, own: NetSpec, spec: NetSpec) -> tuple[str, ...]:
    """The taps of a config with a sampled network in it; see :func:`config_for`.

    Args:
        config: The config.
        own: The config's own network.
        spec: The network.

    Raises:
        UserError: As :func:`config_for`.
    """
    backbone = config.model.backbone
    if backbone.get('out_indices') is not None:
        raise UserError(
            f'{config.filename}: model.backbone.out_indices={backbone.out_indices} '
            'counts the layers of one network, and the search has many; name '
            "out_taps, as ('C4', 'C5')"
        )
    stride = backbone.get('output_stride', 32)
    return tuple(
        _same_place(own, spec, name, stride) if name.startswith('block') else name
        for name in backbone.get('out_taps') or ('C5',)
    )


def _same_place(old: NetSpec, new: NetSpec, name: str, output_stride: int) -> str:
    (tap,) = find_taps(old, (name,), output_stride)
    for part in (tap.part, 'out'):
        places = [
            other.name
            for other in list_taps(new, output_stride).values()
            if other.reduction == tap.reduction
            and other.part == part
            and other.layer.startswith('block')
        ]
        if places:
            return places[-1]
    raise UserError(
        f'out_taps names {name!r} at stride {tap.reduction}, where the space has no '
        'blocks'
    )


@dataclass(frozen=True)
class ProxyJob:
    """A network to train.

    Args:
        config: The config that it replaces the network of.
        spec: The network.
        budget: How long it trains.
        work_dir: Where its log goes.
    """

    config: Config
    spec: NetSpec
    budget: Budget
    work_dir: Path


def train_proxy(job: ProxyJob) -> Outcome:
    """Trains a network from scratch and scores it, 0 to 1.

    Raises:
        UserError: For a config that cannot be trained.
    """
    config = config_for(job.config, job.spec)
    trial = train_and_score(config, job.budget, job.work_dir)
    if trial.value is None:
        return Outcome(None, trial.problem)
    scale = 100 if metric_name(job.config) in _PERCENT else 1
    return Outcome(trial.value / scale)


@dataclass(frozen=True)
class ProxyTrainer:
    """Trains networks, here or by Ray.

    Args:
        config: The config that they replace the network of.
        budget: How long each trains.
        work_dir: Where the logs go.
        ray: None for this process, or what :func:`mmnv3.search.pool.run_jobs` takes.
    """

    config: Config
    budget: Budget
    work_dir: Path
    ray: str | None = None

    def __call__(self, specs: Sequence[NetSpec]) -> Iterator[tuple[int, Outcome]]:
        """Yields outcomes as they come.

        A training that breaks down, for want of memory or because its worker is lost
        for good, is an outcome too.

        Raises:
            UserError: For a config that cannot be trained, with any network.
        """
        jobs = [
            ProxyJob(self.config, spec, self.budget, self.work_dir) for spec in specs
        ]
        for index, result in run_jobs(train_proxy, jobs, self.ray):
            if not isinstance(result, Failure):
                yield index, result
            elif isinstance(result.error, UserError):
                raise result.error
            else:
                yield index, Outcome(None, str(result))
