"""The config of a short training, from that of a long one."""

from __future__ import annotations

import copy
import itertools
import math
import os
import random
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

from mmengine.config import Config, ConfigDict
from mmengine.registry import DATASETS, DefaultScope

from mmnv3.errors import UserError

# What a short training does not want, by the end of its type's name.
_UNWANTED_HOOKS = (
    'EMAHook',  # It would average over far more steps than there are.
    'EarlyStoppingHook',
    'CurvesHook',
    'UnfoldNormsHook',
    'StopAtNaNHook',  # Replaced by one whose finding is a result.
)
# Settings of a schedule that are times.
_TIMES = ('begin', 'end', 'T_max', 'step_size', 'milestones', 'total_steps')
# mmdet's own, where a config names none.
_DET_KEYS = ('img_id', 'img_path', 'ori_shape', 'img_shape', 'scale_factor')

_COUNTER = itertools.count()


@dataclass(frozen=True)
class Budget:
    """How much training a candidate gets, and what it is judged on.

    Args:
        iterations: Of training; 0 only scores.
        rate: Factor of the config's learning rate. A training from scratch wants 1,
            one of inherited weights less.
        held_out: The fraction of the training set that is taken out of it to score
            on, so that the validation set stays unseen. 0 trains on everything and
            scores on the config's validation set.
        seed: Of the fraction, and of the training.

    Raises:
        UserError: For a number that is impossible.
    """

    iterations: int
    rate: float = 1.0
    held_out: float = 0.2
    seed: int = 0

    def __post_init__(self) -> None:
        for name, ok, possible in (
            ('iterations', self.iterations >= 0, '0 and more'),
            ('rate', self.rate > 0, 'above 0'),
            ('held_out', 0 <= self.held_out < 1, '0 to below 1'),
        ):
            if not ok:
                raise UserError(
                    f'{name}={getattr(self, name)} is impossible; possible: {possible}'
                )


def short_config(
    config: Config, budget: Budget, work_dir: str | os.PathLike[str]
) -> Config:
    """The config of a short training.

    Args:
        config: The config of the long one; stays as it is.
        budget: How short, and what is held out.
        work_dir: Where its log goes.

    Returns:
        A config that validates once, at its end, and saves nothing.
    """
    config = copy.deepcopy(config)
    config.work_dir = str(work_dir)
    # Two of the same second would share a log.
    config.experiment_name = f'{Path(work_dir).name}_{os.getpid()}_{next(_COUNTER)}'
    config.launcher, config.load_from, config.resume = 'none', None, False
    config.randomness = dict(seed=budget.seed)
    config.visualizer = dict(type='mmengine.Visualizer', vis_backends=None)
    config.default_hooks.checkpoint = None
    config.default_hooks.pop('visualization', None)
    config.custom_hooks = [
        hook
        for hook in config.get('custom_hooks') or []
        if not hook['type'].endswith(_UNWANTED_HOOKS)
    ]
    for name in ('test_dataloader', 'test_evaluator', 'test_cfg'):
        config.pop(name, None)
    count = dataset_length(config)
    _compress(config, budget.iterations, count)
    config.optim_wrapper.optimizer.lr *= budget.rate
    config.log_processor = dict(by_epoch=False, window_size=20)
    config.default_hooks.logger.log_metric_by_epoch = False
    if budget.held_out:
        _hold_out(config, held_out_indices(count, budget.held_out, budget.seed), count)
    return config


def held_out_indices(count: int, fraction: float, seed: int = 0) -> list[int]:
    """The samples of a training set that are scored on: always the same ones.

    Args:
        count: Samples of the set.
        fraction: Of them.
        seed: Of the choice.

    Raises:
        UserError: When it leaves nothing to score on, or to train on.
    """
    chosen = round(count * fraction)
    if not 0 < chosen < count:
        raise UserError(
            f'held_out={fraction} of {count} training pictures are {chosen}; choose a '
            'fraction that leaves some to train on and some to score on'
        )
    return sorted(random.Random(seed).sample(range(count), chosen))


def dataset_length(config: Config) -> int:
    """Samples of a config's training set, after its filter."""
    text = Config(dict(dataset=_innermost(config))).dump()
    return _count_samples(text, config.get('default_scope', 'mmdet'))


@lru_cache
def _count_samples(text: str, scope: str) -> int:
    dataset = Config.fromstring(text, '.py').dataset
    with DefaultScope.overwrite_default_scope(scope):
        return len(DATASETS.build(dataset))


def _innermost(config: Config) -> ConfigDict:
    """The training set itself, without what repeats or mixes it."""
    dataset = config.train_dataloader.dataset
    while 'dataset' in dataset:
        dataset = dataset.dataset
    return dataset


def _hold_out(config: Config, held_out: list[int], count: int) -> None:
    train = _innermost(config)
    # The training set's own filter, or the indices would mean other pictures.
    scored = copy.deepcopy(train)
    scored.pipeline = config.val_dataloader.dataset.pipeline
    pack = scored.pipeline[-1]
    if pack['type'].endswith('PackDetInputs'):
        # The evaluator then takes the truth from the samples.
        keys = pack.get('meta_keys', _DET_KEYS)
        pack['meta_keys'] = (*keys, 'instances')
    scored.indices = held_out
    train.indices = sorted(set(range(count)) - set(held_out))
    config.val_dataloader.dataset = scored
    config.val_evaluator.pop('ann_file', None)


def _compress(config: Config, iterations: int, count: int) -> None:
    """Makes a schedule end after so many iterations, its parts in proportion."""
    loader, loop = config.train_dataloader, config.train_cfg
    epoch = max(1, math.ceil(count / loader.batch_size))
    total = loop.get('max_iters') or loop['max_epochs'] * epoch
    config.train_cfg = dict(
        type='IterBasedTrainLoop',
        max_iters=max(1, iterations),
        val_interval=max(1, iterations),
    )
    # Others end with an epoch, for which mmengine then waits.
    loader.sampler = dict(type='InfiniteSampler', shuffle=True)
    loader.pop('batch_sampler', None)
    schedulers = config.get('param_scheduler') or []
    schedulers = [schedulers] if isinstance(schedulers, dict) else schedulers
    shortened = []
    for scheduler in schedulers:
        unit = epoch if scheduler.get('by_epoch', True) else 1
        scheduler = dict(scheduler, by_epoch=False)
        scheduler.pop('convert_to_iter_based', None)
        for name in _TIMES:
            if name in scheduler:
                scheduler[name] = _scale(scheduler[name], unit * iterations / total)
        if 'step_size' in scheduler:
            scheduler['step_size'] = max(1, scheduler['step_size'])
        if scheduler.get('end', math.inf) > scheduler.get('begin', 0):
            shortened.append(scheduler)
    config.param_scheduler = shortened


def _scale(times: Any, factor: float) -> Any:
    if isinstance(times, list | tuple):
        return [round(time * factor) for time in times]
    return round(times * factor)
