"""The networks of configs, and variants of them with another backbone."""

from __future__ import annotations

import random
import tempfile
from collections.abc import Collection, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

from torch import nn

from mmnv3.arch import BlockSpec, NetSpec, SqueezeExcite, make_divisible, save_spec
from mmnv3.benchmark.models import build_random
from mmnv3.benchmark.timed_model import Request
from mmnv3.engine.config import input_size
from mmnv3.errors import UserError

_KERNELS = 3, 5
_THINNEST = 0.4


@dataclass(frozen=True)
class Seed:
    """The network of a config.

    Args:
        config: Path of the config.
        model: What it builds, with random weights.
        size: Pixels of the picture, (width, height).
    """

    config: str
    model: nn.Module
    size: tuple[int, int]

    @classmethod
    def read(cls, config: str, size: tuple[int, int] | None = None) -> Seed:
        """Builds the network of a config.

        Args:
            config: Path of the config.
            size: Pixels of the picture, (width, height); the config's own for None.

        Raises:
            UserError: When there is no such config, or its backbone is none of ours.
        """
        model, _ = build_random(Request(config))
        if not hasattr(getattr(model, 'backbone', None), 'spec'):
            raise UserError(f'{config}: its backbone is not of type mmnv3.MobileNetV3')
        return cls(config, model, input_size(model.cfg, size))

    @property
    def spec(self) -> NetSpec:
        """The backbone's specification."""
        return self.model.backbone.spec

    def fixed_blocks(self) -> frozenset[int]:
        """Blocks, from 0, whose expansion necks and heads read."""
        return frozenset(
            int(tap.layer.removeprefix('block')) - 1
            for tap in self.model.backbone.taps
            if tap.part in ('expand', 'depthwise')
        )

    def variant(self, spec: NetSpec) -> nn.Module:
        """Builds the network with another backbone, which has taps of the same width.

        Args:
            spec: The backbone.
        """
        with tempfile.TemporaryDirectory(prefix='mmnv3-variant-') as folder:
            path = Path(folder) / 'spec.json'
            save_spec(spec, path)
            backbone = dict(arch=str(path), width=1.0, tail=None)
            options = {
                f'model.backbone.{key}': value for key, value in backbone.items()
            }
            return build_random(Request(self.config, options))[0]


def random_variants(seed: Seed, count: int, number: int) -> Iterator[nn.Module]:
    """Networks of a config with random backbones.

    Args:
        seed: The network of the config.
        count: How many.
        number: Of the random sequence.
    """
    chance = random.Random(number)
    fixed = seed.fixed_blocks()
    for _ in range(count):
        yield seed.variant(random_spec(seed.spec, chance, fixed))


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
