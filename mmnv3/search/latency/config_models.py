"""The networks of configs, and variants of them with another backbone."""

from __future__ import annotations

import random
from collections.abc import Collection, Iterator
from dataclasses import dataclass, replace
from typing import Any, cast

from torch import nn

from mmnv3.arch import BlockSpec, NetSpec, SqueezeExcite, make_divisible
from mmnv3.benchmark.models import build_random
from mmnv3.benchmark.timed_model import Request
from mmnv3.engine.build import build_model
from mmnv3.engine.config import input_size
from mmnv3.errors import UserError
from mmnv3.models import MobileNetV3
from mmnv3.search.configs import with_spec
from mmnv3.size import Size

_KERNELS = 3, 5
_THINNEST = 0.4


@dataclass(frozen=True)
class ConfigModel:
    """The network of a config.

    Args:
        model: What it builds, with random weights.
        size: Pixels of the picture.
    """

    model: nn.Module
    size: Size

    @classmethod
    def read(cls, config: str, size: Size | None = None) -> ConfigModel:
        """Builds the network of a config.

        Args:
            config: Path of the config.
            size: Pixels of the picture; the config's own for None.

        Raises:
            UserError: When there is no such config, or its backbone is none of ours.
        """
        model, _ = build_random(Request(config))
        return cls.of_model(model, size)

    @classmethod
    def of_model(cls, model: Any, size: tuple[int, int] | None = None) -> ConfigModel:
        """Looks at a model that was built.

        Args:
            model: What :func:`mmnv3.engine.build.build_model` returns.
            size: (width, height) of the picture; the config's own for None.

        Raises:
            UserError: When its backbone is none of ours.
        """
        if not isinstance(getattr(model, 'backbone', None), MobileNetV3):
            raise UserError(
                f'{model.cfg.filename}: its backbone is not of type mmnv3.MobileNetV3'
            )
        return cls(model, input_size(model.cfg, size))

    @property
    def backbone(self) -> MobileNetV3:
        """The model's backbone."""
        return cast(MobileNetV3, self.model.backbone)

    @property
    def spec(self) -> NetSpec:
        """The backbone's specification."""
        return self.backbone.spec

    def fixed_blocks(self) -> frozenset[int]:
        """Blocks, from 0, whose expansion necks and heads read."""
        return frozenset(
            int(tap.layer.removeprefix('block')) - 1
            for tap in self.backbone.taps
            if tap.part in ('expand', 'depthwise')
        )

    def variant(self, spec: NetSpec) -> nn.Module:
        """Builds the network with another backbone, which has taps of the same width.

        Args:
            spec: The backbone.
        """
        return build_model(with_spec(self.model.cfg, spec))


def random_variants(
    config_model: ConfigModel, count: int, seed: int
) -> Iterator[nn.Module]:
    """Networks of a config with random backbones.

    Args:
        config_model: The network of the config.
        count: How many.
        seed: Of the random sequence.
    """
    chance = random.Random(seed)
    fixed = config_model.fixed_blocks()
    for _ in range(count):
        yield config_model.variant(random_spec(config_model.spec, chance, fixed))


def random_spec(
    spec: NetSpec, chance: random.Random, fixed: Collection[int] = ()
) -> NetSpec:
    """A network with random kernels, squeeze-and-excite and widths.

    Args:
        spec: The network to change; nothing gets wider than in it.
        chance: The source of random numbers.
        fixed: Blocks, from 0, whose expansion stays.
    """
    channels, blocks = spec.stem.out, []
    for index, block in enumerate(spec.blocks):
        new = _random_block(block, chance)
        if block.expand == (spec.blocks[index - 1].out if index else spec.stem.out):
            new = replace(new, expand=channels)  # It has no expansion convolution.
        if index in fixed:
            new = replace(new, expand=block.expand)
        blocks.append(new)
        channels = new.out
    return replace(spec, name=f'{spec.name}_random', blocks=tuple(blocks))


def _random_block(block: BlockSpec, chance: random.Random) -> BlockSpec:
    def thinner(width: int) -> int:
        keeps = chance.random() < 0.5
        return width if keeps else make_divisible(width * chance.uniform(_THINNEST, 1))

    return replace(
        block,
        kernel=block.kernel if block.fused else chance.choice(_KERNELS),
        expand=thinner(block.expand),
        out=thinner(block.out),
        se=chance.choice((block.se or SqueezeExcite(), None)),
    )
