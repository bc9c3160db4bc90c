"""MnasNet's factorised hierarchical space, as data (MnasNet, Section 4.1).

A network is a few stages of blocks, and all blocks of a stage share their choices.
"""

from __future__ import annotations

import math
import random
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from mmnv3.arch import BlockSpec, ConvSpec, NetSpec, SqueezeExcite, make_divisible
from mmnv3.errors import UserError

Tokens = tuple[int, ...]


@dataclass(frozen=True)
class Op:
    """A kind of block.

    Args:
        ratio: Its expansion, in proportion to its input.
        fused: Whether a full convolution expands, and there is no depthwise.
    """

    ratio: int
    fused: bool = False


# A specification has no lone k×k convolution: the regular one is EdgeTPU's fused block,
# whose k×k expands and whose 1×1 projects. `separable` is a depthwise k×k and a 1×1.
OPS: dict[str, Op] = {
    'conv': Op(3, fused=True),
    'separable': Op(1),
    'bottleneck3': Op(3),
    'bottleneck4': Op(4),
    'bottleneck6': Op(6),
}

# What a stage chooses, in this order. MnasNet's third skip, pooling, is left out: a
# specification cannot express it. So a stage has 288 settings, MnasNet's example 432.
CHOICES: dict[str, tuple] = {
    'op': ('conv', 'separable', 'bottleneck3', 'bottleneck6'),
    'kernel': (3, 5),
    'se': (0.0, 0.25),
    'residual': (False, True),
    # In proportion to the skeleton's output channels.
    'filters': (0.75, 1.0, 1.25),
    # More or fewer than the skeleton's layers; one always stays.
    'layers': (-1, 0, 1),
}
# Of a MobileNetV3 every block is depthwise, and has a residual wherever it fits.
V3_CHOICES: dict[str, tuple] = {
    **CHOICES,
    'op': ('separable', 'bottleneck3', 'bottleneck4', 'bottleneck6'),
    'residual': (True,),
}


@dataclass(frozen=True)
class Stage:
    """One stage of the skeleton.

    Args:
        layers: Blocks.
        out: Output channels.
        stride: Stride of the first block.
        act: Activation; that of the space for None.
    """

    layers: int
    out: int
    stride: int
    act: str | None = None


@dataclass(frozen=True)
class Space:
    """A skeleton, and what may become of each of its stages.

    Args:
        name: What people call it.
        stem: First convolution.
        stages: The skeleton.
        last: The 1×1 convolution before pooling.
        head: The 1×1 convolution after pooling, or None.
        choices: What a stage chooses from, in the order of the tokens.
        se: Squeeze-and-excite where its ratio is not 0. MobileNetV3's rule rather than
            MnasNet's fraction of the input, since the result is to be a MobileNetV3.
        act: Activation of stages that name none. The paper searches with ReLU and puts
            h-swish in afterwards.
    """

    name: str
    stem: ConvSpec
    stages: tuple[Stage, ...]
    last: ConvSpec
    head: ConvSpec | None = None
    choices: dict[str, tuple] = field(default_factory=lambda: CHOICES)
    se: SqueezeExcite = field(default_factory=SqueezeExcite)
    act: str = 'relu'

    @property
    def sizes(self) -> tuple[int, ...]:
        """How many values every token has, in order."""
        return tuple(map(len, self.choices.values())) * len(self.stages)

    @property
    def size(self) -> int:
        """How many token sequences there are; a few of them mean the same network."""
        return math.prod(self.sizes)

    def random(self, rng: random.Random) -> Tokens:
        """Draws every choice uniformly."""
        return tuple(rng.randrange(size) for size in self.sizes)

    def uniform(self, **values: object) -> Tokens:
        """Tokens of the network whose stages all choose the same.

        Args:
            **values: A value for every kind of choice.
        """
        one = [options.index(values[kind]) for kind, options in self.choices.items()]
        return tuple(one) * len(self.stages)

    def extreme(self, op: str, largest: bool) -> Tokens:
        """Tokens of the largest network of an op, or of the smallest."""
        pick = max if largest else min
        others = {
            kind: pick(options)
            for kind, options in self.choices.items()
            if kind != 'op'
        }
        return self.uniform(op=op, **others)

    def settings(self, tokens: Sequence[int]) -> list[dict[str, Any]]:
        """What every stage chose, by kind.

        Raises:
            ValueError: When there are too many or too few tokens.
        """
        kinds = list(self.choices.items())
        if len(tokens) != len(self.sizes):
            raise ValueError(
                f'{len(tokens)} tokens; the space {self.name!r} takes {len(self.sizes)}'
            )
        return [
            {
                kind: options[token]
                for (kind, options), token in zip(kinds, tokens[start:])
            }
            for start in range(0, len(tokens), len(kinds))
        ]

    def places(self, tokens: Sequence[int]) -> list[tuple[int, int]]:
        """The stage of every block, and its place there, both from 0."""
        return [
            (number, index)
            for number, chosen in enumerate(self.settings(tokens))
            for index in range(max(1, self.stages[number].layers + chosen['layers']))
        ]

    def decode(self, tokens: Sequence[int]) -> NetSpec:
        """Builds the specification that tokens stand for.

        Args:
            tokens: An index into the options for every choice of every stage.

        Returns:
            The network. Equal networks are equal whatever tokens they came from.

        Raises:
            ValueError: When there are too many or too few tokens.
        """
        channels, blocks = self.stem.out, []
        settings = self.settings(tokens)
        for number, index in self.places(tokens):
            stage, chosen = self.stages[number], settings[number]
            op = OPS[chosen['op']]
            out = make_divisible(stage.out * chosen['filters'])
            blocks.append(
                BlockSpec(
                    chosen['kernel'],
                    channels * op.ratio,
                    out,
                    1 if index else stage.stride,
                    stage.act or self.act,
                    replace(self.se, ratio=chosen['se']) if chosen['se'] else None,
                    residual=chosen['residual'],
                    fused=op.fused,
                )
            )
            channels = out
        return NetSpec(
            f'nas_{self.name}', self.stem, tuple(blocks), self.last, self.head
        )


def _stages(*rows: tuple) -> tuple[Stage, ...]:
    return tuple(Stage(*row) for row in rows)


SPACES: dict[str, Space] = {
    # MobileNetV2's skeleton, as MnasNet.
    'large': Space(
        'large',
        ConvSpec(32, kernel=3, stride=2, act='relu'),
        # layers, out, stride
        _stages(
            (1, 16, 1),
            (2, 24, 2),
            (3, 32, 2),
            (4, 64, 2),
            (3, 96, 1),
            (3, 160, 2),
            (1, 320, 1),
        ),
        ConvSpec(1280, act='relu', scaled='up'),
    ),
    # The paper does not print the skeleton that Small was searched from. These are the
    # stages of its result (Table 2), so a network much like it is among the possible.
    'small': Space(
        'small',
        ConvSpec(16, kernel=3, stride=2, act='relu'),
        _stages((1, 16, 2), (2, 24, 2), (3, 40, 2), (2, 48, 1), (3, 96, 2)),
        ConvSpec(576, act='relu'),
        ConvSpec(1024, act='relu', scaled='never'),
    ),
    # The stages of Tables 1 and 2 with their activations: what is found needs no other
    # ones put in, and the paper's network is among the possible but for its kernels,
    # SE and expansions, which change within stages there.
    'v3_large': Space(
        'v3_large',
        ConvSpec(16, kernel=3, stride=2),
        _stages(
            (1, 16, 1, 'relu'),
            (2, 24, 2, 'relu'),
            (3, 40, 2, 'relu'),
            (4, 80, 2, 'hswish'),
            (2, 112, 1, 'hswish'),
            (3, 160, 2, 'hswish'),
        ),
        ConvSpec(960),
        ConvSpec(1280, scaled='never'),
        choices=V3_CHOICES,
    ),
    'v3_small': Space(
        'v3_small',
        ConvSpec(16, kernel=3, stride=2),
        _stages(
            (1, 16, 2, 'relu'),
            (2, 24, 2, 'relu'),
            (3, 40, 2, 'hswish'),
            (2, 48, 1, 'hswish'),
            (3, 96, 2, 'hswish'),
        ),
        ConvSpec(576),
        ConvSpec(1024, scaled='never'),
        choices=V3_CHOICES,
    ),
}


def get_space(name: str, tail: str | None = None) -> Space:
    """Finds a space and gives it the tail of a task.

    Args:
        name: One of :data:`SPACES`.
        tail: ``'detection'`` and ``'segmentation'`` halve what comes at stride 32 and
            the last 1×1, as the paper does for both; None leaves the classifier's.

    Raises:
        UserError: For an unknown name; lists the possible.
    """
    if name not in SPACES:
        raise UserError(f'the space {name!r} is unknown; possible: {", ".join(SPACES)}')
    space = SPACES[name]
    if tail is None:
        return space
    reduction, stages = space.stem.stride, []
    for stage in space.stages:
        reduction *= stage.stride
        out = stage.out // 2 if reduction == 32 else stage.out
        stages.append(replace(stage, out=out))
    return replace(
        space,
        name=f'{name}_{tail}',
        stages=tuple(stages),
        last=replace(space.last, out=space.last.out // 2),
    )
