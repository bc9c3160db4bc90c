"""Configs whose backbone is an edited network, with what its neck and head follow."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import torch
from mmengine.config import Config, ConfigDict
from mmengine.registry import MODELS, DefaultScope
from torch import nn

from mmnv3.arch import NetSpec, backbone_taps, fit_to_taps, get_spec
from mmnv3.errors import UserError
from mmnv3.models import MobileNetV3
from mmnv3.search.netadapt.proposals import Rules


def config_spec(config: Config) -> NetSpec:
    """The network of a config's backbone, tail and width applied.

    Raises:
        UserError: When its backbone is not ours.
    """
    backbone = config.model.backbone
    if backbone.type.split('.')[-1] != MobileNetV3.__name__ or (
        '.' not in backbone.type and config.get('default_scope') != 'mmdet'
    ):
        raise UserError(
            f'{config.filename}: NetAdapt cuts backbones of type '
            f"'mmnv3.MobileNetV3', and this is {backbone.type!r}"
        )
    return get_spec(
        backbone.get('arch', 'large'),
        backbone.get('width', 1.0),
        backbone.get('tail'),
    )


def config_rules(config: Config) -> Rules:
    """How a config's backbone is built from its table."""
    backbone = config.model.backbone
    known = ('output_stride', 'dilation')
    return Rules(**{name: backbone[name] for name in known if name in backbone})


def with_spec(config: Config, spec: NetSpec, arch: str | None = None) -> Config:
    """A config with another network in it.

    Args:
        config: Of detection, segmentation or classification; stays as it is.
        spec: The network.
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
    backbone.init_cfg = _fresh(backbone.get('init_cfg'))
    set_taps(config.model, [tap.channels for tap in backbone_taps(backbone)])
    if arch:
        backbone.arch = arch
    return config


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


def build(config: Config) -> nn.Module:
    """The model of a config, in eval mode."""
    with DefaultScope.overwrite_default_scope(config.get('default_scope', 'mmdet')):
        return MODELS.build(config.model).eval()


def build_shapes(config: Config) -> nn.Module:
    """The same without memory for its weights."""
    with torch.device('meta'):
        return build(config)


def _fresh(init_cfg: Any) -> Any:
    """What is left of an initialisation without pretrained weights."""
    if isinstance(init_cfg, dict):
        init_cfg = [init_cfg]
    kept = [item for item in init_cfg or [] if not item['type'].endswith('Pretrained')]
    return kept or None
