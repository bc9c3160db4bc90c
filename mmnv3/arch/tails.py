"""What detection and segmentation change at the end of a network.

The two tasks change different layers (slim's ``V3_*_DETECTION``, DeepLab's
``core/feature_extractor.py``), and networks with the efficient last stage of
MobileNetV3 (Section 5.1) other ones than those without. Tails come before the width
multiplier, as in slim.
"""

from __future__ import annotations

from dataclasses import replace

from mmnv3.arch.scale import set_outputs
from mmnv3.arch.spec import TASKS, NetSpec, check_choice, make_divisible, plan_blocks
from mmnv3.errors import UserError


def apply_tail(spec: NetSpec, tail: str | None) -> NetSpec:
    """Applies the tail of a task to a network at width 1.

    Args:
        spec: The network.
        tail: ``'detection'``, ``'segmentation'``, or None to leave it as it is. A
            network that has the tail keeps it.

    Raises:
        UserError: For an unknown tail, for a network that has the other one, and for
            one that has nothing which the tail would change.
    """
    check_choice('tail', tail, (None, *TASKS))
    if tail in (None, spec.tail):
        return spec
    if spec.tail:
        raise UserError(
            f'{spec.name!r} has the {spec.tail} tail already and cannot take that of '
            f'{tail}; possible: None, {spec.tail}'
        )
    edited = _detection(spec) if tail == 'detection' else _segmentation(spec)
    return replace(edited, name=f'{spec.name}_{tail}', tail=tail)


def _detection(spec: NetSpec) -> NetSpec:
    if spec.head:
        return _halve_outputs(spec)
    # The multiplier narrows the last 1×1, which classifiers keep, and SE widths are
    # multiples of 8: Table 6 counts MnasNet so (4.88 M).
    return replace(
        spec,
        last=spec.last and replace(spec.last, scaled='always'),
        blocks=tuple(
            replace(block, se=block.se and replace(block.se, divisor=8))
            for block in spec.blocks
        ),
    )


def _segmentation(spec: NetSpec) -> NetSpec:
    if not spec.last:
        raise UserError(
            f'{spec.name!r} has no segmentation tail, since it has no last 1×1; '
            'possible: None, detection'
        )
    if not spec.head:
        # DeepLab's MobileNetV2 has no last 1×1. 1.16 M parameters; Table 7 prints 1.15.
        # Halving the expansion below as well would give 1.06.
        return _halve_outputs(replace(spec, last=None))
    halved = _halve_outputs(spec)
    first = _first_of_stride_32(spec)
    blocks = list(halved.blocks)
    blocks[first] = replace(blocks[first], expand=_half(blocks[first].expand))
    return replace(halved, blocks=tuple(blocks))


def _halve_outputs(spec: NetSpec) -> NetSpec:
    """Halves the outputs of the stride-32 blocks and of the last 1×1 convolution.

    Expansions are ratios, so that of the first such block stays: it is C4.
    """
    first = _first_of_stride_32(spec)
    outs = [
        block.out if index < first else _half(block.out)
        for index, block in enumerate(spec.blocks)
    ]
    last = spec.last and replace(spec.last, out=_half(spec.last.out))
    return replace(set_outputs(spec, spec.stem.out, outs), last=last)


def _half(channels: int) -> int:
    return make_divisible(channels / 2)


def _first_of_stride_32(spec: NetSpec) -> int:
    for index, plan in enumerate(plan_blocks(spec)):
        if plan.nominal_stride >= 32:
            return index
    raise UserError(
        f'{spec.name!r} has no block of stride 32, whose outputs a tail halves; '
        'possible: None'
    )
