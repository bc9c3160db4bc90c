"""What a search makes of a config: another network in it, and a short training.

Neck and heads follow the network. A short training keeps the config's recipe, with its
schedule in proportion, and can hold out data to score on.
"""

from __future__ import annotations

import copy
import io
import itertools
import math
import os
import random
import re
from collections.abc import Sequence
from contextlib import redirect_stdout
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import Any

import torch
from mmengine.config import Config, ConfigDict
from mmengine.registry import DATASETS, DefaultScope
from torch import nn

from mmnv3.arch import (
    NetSpec,
    Network,
    backbone_taps,
    find_taps,
    fit_to_taps,
    list_taps,
)
from mmnv3.engine.build import new_model
from mmnv3.errors import UserError
from mmnv3.models import MobileNetV3

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

# A block by its own name, and by that of a layer of a model.
_BLOCK = re.compile(r'block(\d+)')
MODEL_BLOCK = re.compile(rf'backbone\.{_BLOCK.pattern}')
_COUNTER = itertools.count()


def config_network(config: Config) -> Network:
    """The network of a config's backbone.

    Raises:
        UserError: When its backbone is not ours.
    """
    backbone = config.model.backbone
    if backbone.type.split('.')[-1] != MobileNetV3.__name__ or (
        '.' not in backbone.type and config.get('default_scope') != 'mmdet'
    ):
        raise UserError(
            f'{config.filename}: the searches edit backbones of type '
            f"'mmnv3.MobileNetV3', and this is {backbone.type!r}"
        )
    return Network.of_backbone(backbone)


def with_spec(config: Config, spec: NetSpec, arch: str | None = None) -> Config:
    """A config with another network in it, whose taps have the names of the old one's.

    Args:
        config: Of detection, segmentation or classification; stays as it is.
        spec: The network's table; output stride, dilation and padding stay the
            config's.
        arch: How to name it: the path of its file, as of :func:`beside_config`.
            Without, the specification itself stands in the config, which can then be
            trained but not read again.

    Returns:
        The config. Neck and head take what the backbone gives. The backbone names no
        pretrained weights, since they are another network's.
    """
    config = copy.deepcopy(config)
    backbone = config.model.backbone
    backbone.update(arch=spec, width=1.0, tail=None)
    backbone.init_cfg = _without_pretrained(backbone.get('init_cfg'))
    set_taps(config.model, [tap.channels for tap in backbone_taps(backbone)])
    if arch:
        backbone.arch = arch
    return config


def with_sampled_spec(config: Config, spec: NetSpec, arch: str | None = None) -> Config:
    """A config with a network of other blocks in it; the taps move, see `sampled_taps`.

    Args:
        config: The config; stays as it is.
        spec: The network.
        arch: The path of its file, if the config is to be written.

    Raises:
        UserError: When the backbone is not ours, or taps by ``out_indices``.
    """
    taps = sampled_taps(config, config_network(config).spec, spec)
    edited = copy.deepcopy(config)
    if 'out_taps' in edited.model.backbone:
        edited.model.backbone.out_taps = taps
    return with_spec(edited, spec, arch)


def sampled_taps(config: Config, own: NetSpec, spec: NetSpec) -> tuple[str, ...]:
    """The taps of a config with a network of other blocks in it.

    A tap such as ``'block6.depthwise'`` becomes the deepest of the same part and
    reduction, or the output of the deepest block of that reduction where the blocks
    have no such part.

    Args:
        config: The config.
        own: The config's own network.
        spec: The network.

    Raises:
        UserError: When the config taps by ``out_indices``, or where the network has no
            blocks.
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


def numbered_blocks(config: Config) -> int:
    """How many blocks, from the first, a config knows by their numbers.

    Names of taps do, numbers of taps all, and layers that are frozen.
    """
    backbone = config.model.backbone
    if backbone.get('out_indices') is not None:
        return len(config_network(config).spec.blocks)
    names = map(_BLOCK.match, backbone.get('out_taps') or ())
    numbers = [int(name[1]) for name in names if name]
    return max(0, backbone.get('frozen_stages', -1), *numbers)


def beside_config(name: str) -> str:
    """Names a file by the config that lies beside it, so that both can be moved.

    Args:
        name: Of the file.

    Returns:
        The path as a config says it; mmengine fills in the folder when it reads one.
    """
    return f'{{{{ fileDirname }}}}/{name}'


def set_taps(model: ConfigDict, channels: Sequence[int]) -> None:
    """Tells a model's neck and heads how many channels the backbone's taps have."""
    taps = [
        replace(tap, channels=number)
        for tap, number in zip(backbone_taps(model.backbone), channels, strict=True)
    ]
    for part, follows in fit_to_taps(model, taps).items():
        if isinstance(follows, list):
            model[part] = follows
        else:
            model[part].update(follows)


def _without_pretrained(init_cfg: Any) -> Any:
    """What is left of an initialisation without pretrained weights."""
    if isinstance(init_cfg, dict):
        init_cfg = [init_cfg]
    kept = [item for item in init_cfg or [] if not item['type'].endswith('Pretrained')]
    return kept or None


def build(config: Config) -> nn.Module:
    """The model of a config, in eval mode."""
    return new_model(config).eval()


def build_shapes(config: Config) -> nn.Module:
    """The same without memory for its weights."""
    with torch.device('meta'):
        return build(config)


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
    dataset = dict(dataset=_innermost(config))
    text = Config(dataset, format_python_code=False).dump()
    return _count_samples(text, config.get('default_scope', 'mmdet'))


@lru_cache
def _count_samples(text: str, scope: str) -> int:
    dataset = Config.fromstring(text, '.py').dataset
    # pycocotools tells on the screen what it does.
    with DefaultScope.overwrite_default_scope(scope), redirect_stdout(io.StringIO()):
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
    loader = config.train_dataloader
    epoch = max(1, math.ceil(count / loader.batch_size))
    total = _schedule_length(config, epoch)
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


def _schedule_length(config: Config, epoch: int) -> int:
    loop = config.train_cfg
    return loop.get('max_iters') or loop['max_epochs'] * epoch


def schedule_length(config: Config) -> int:
    """Iterations of a config's own training."""
    epoch = math.ceil(dataset_length(config) / config.train_dataloader.batch_size)
    return _schedule_length(config, max(1, epoch))


def _scale(times: Any, factor: float) -> Any:
    if isinstance(times, list | tuple):
        return [round(time * factor) for time in times]
    return round(times * factor)
