"""Changing a table: the width multiplier, by the paper's counts, and the gates."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from mmnv3.arch.spec import (
    GATES,
    ConvSpec,
    NetSpec,
    check_choice,
    check_positive,
    make_divisible,
)
from mmnv3.errors import UserError

# A width that nobody trains; with more a layer could not be built.
WIDEST = 100


def set_outputs(spec: NetSpec, stem: int, outs: Sequence[int]) -> NetSpec:
    """Gives the stem and every block new output channels.

    An expansion keeps its *ratio* to the real input of its block, rounded to a
    multiple of 8 (slim's rule).

    Args:
        spec: The network.
        stem: New output channels of the stem.
        outs: New output channels of every block.
    """
    old, new, blocks = spec.stem.out, stem, []
    for block, out in zip(spec.blocks, outs, strict=True):
        expand = block.expand
        if new != old:
            expand = new if expand == old else make_divisible(new * expand / old)
        blocks.append(replace(block, expand=expand, out=out))
        old, new = block.out, out
    return replace(spec, stem=replace(spec.stem, out=stem), blocks=tuple(blocks))


def scale_width(spec: NetSpec, width: float) -> NetSpec:
    """Scales every layer of a network by a width multiplier.

    Outputs are rounded to multiples of 8, expansions stay ratios, and the head's 1280
    or 1024 channels stay. Scaling the expansion itself, as torchvision does, gives
    another network: 140 M instead of the paper's 155 M multiply-adds at 0.75.

    Args:
        spec: The network at width 1.
        width: The multiplier.

    Raises:
        UserError: When the multiplier is no positive number, too large, or so small
            that a layer would be rounded to nothing.
    """
    check_positive('width', width, WIDEST)
    if width == 1:
        return spec
    thinnest = min(spec.stem.out, *(block.out for block in spec.blocks))
    # Below half a multiple of 8 only the floor of 8 would keep the layer alive.
    if thinnest * width < 4:
        raise UserError(
            f'width={width!r} rounds a layer of {thinnest} channels of '
            f'{spec.name!r} to nothing; possible: {4 / thinnest:g} and more'
        )
    scaled = set_outputs(
        spec,
        make_divisible(spec.stem.out * width),
        [make_divisible(block.out * width) for block in spec.blocks],
    )
    return replace(
        scaled,
        name=f'{spec.name}_{width:g}',
        last=spec.last and _scale_conv(spec.last, width),
        head=spec.head and _scale_conv(spec.head, width),
    )


def _scale_conv(conv: ConvSpec, width: float) -> ConvSpec:
    applies = {'always': True, 'up': width > 1, 'never': False}[conv.scaled]
    return replace(conv, out=make_divisible(conv.out * width)) if applies else conv


def set_gate(spec: NetSpec, gate: str | None) -> NetSpec:
    """Gives every squeeze-and-excite of a network another gate.

    Args:
        spec: The network.
        gate: One of :data:`mmnv3.arch.spec.GATES`; None leaves the network's own.

    Raises:
        UserError: For any other gate.
    """
    if gate is None:
        return spec
    check_choice('gate', gate, GATES)
    blocks = tuple(
        replace(block, se=block.se and replace(block.se, gate=gate))
        for block in spec.blocks
    )
    return replace(spec, blocks=blocks)
