"""What detection and segmentation change at the end of a network.

The two tasks change different layers (slim's ``V3_*_DETECTION``, DeepLab's
``core/feature_extractor.py``), so a tail is a table of edits by network. They come
before the width multiplier, as in slim.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from mmnv3.arch.scale import set_outputs
from mmnv3.arch.spec import NetSpec, plan_blocks
from mmnv3.errors import UserError

_Edit = Callable[[NetSpec], NetSpec]


def _halve_outputs(spec: NetSpec) -> NetSpec:
    """Halves the outputs of the stride-32 blocks and of the last 1×1 convolution.

    Expansions are ratios, so that of the first such block stays: it is C4.
    """
    outs = [
        plan.spec.out // 2 if plan.nominal_stride == 32 else plan.spec.out
        for plan in plan_blocks(spec)
    ]
    halved = set_outputs(spec, spec.stem.out, outs)
    last = spec.last and replace(spec.last, out=spec.last.out // 2)
    return replace(halved, last=last)


def _halve_outputs_and_expansion(spec: NetSpec) -> NetSpec:
    """Halves the expansion of the first stride-32 block as well (DeepLab)."""
    halved = _halve_outputs(spec)
    first = next(
        index
        for index, plan in enumerate(plan_blocks(spec))
        if plan.nominal_stride == 32
    )
    blocks = list(halved.blocks)
    blocks[first] = replace(blocks[first], expand=blocks[first].expand // 2)
    return replace(halved, blocks=tuple(blocks))


def _drop_last(spec: NetSpec) -> NetSpec:
    """Leaves out the last 1×1, which DeepLab's MobileNetV2 does not have."""
    return replace(spec, last=None)


def _scale_last(spec: NetSpec) -> NetSpec:
    """Lets the multiplier narrow the last 1×1 convolution, which classifiers keep."""
    return replace(spec, last=replace(spec.last, scaled='always'))


def _round_se(spec: NetSpec) -> NetSpec:
    """Rounds SE widths to multiples of 8: Table 6 counts MnasNet so (4.88 M)."""
    return replace(
        spec,
        blocks=tuple(
            replace(block, se=block.se and replace(block.se, divisor=8))
            for block in spec.blocks
        ),
    )


_V3 = ('large', 'small', 'large_minimalistic', 'small_minimalistic')

TAILS: dict[str, dict[str, _Edit]] = {
    'detection': {
        **dict.fromkeys(_V3, _halve_outputs),
        'v1': lambda spec: spec,
        'v2': _scale_last,
        'mnasnet_a1': lambda spec: _round_se(_scale_last(spec)),
    },
    'segmentation': {
        **dict.fromkeys(_V3, _halve_outputs_and_expansion),
        # 1.16 M parameters; Table 7 prints 1.15. Halving the expansion of the first
        # stride-32 block as well would give 1.06.
        'v2': lambda spec: _halve_outputs(_drop_last(spec)),
    },
}


def apply_tail(spec: NetSpec, tail: str | None) -> NetSpec:
    """Applies the tail of a task to a network of the zoo at width 1.

    Args:
        spec: The network.
        tail: ``'detection'``, ``'segmentation'``, or None for the classifier's.

    Raises:
        UserError: For an unknown tail, or one that the network has no table for.
    """
    if tail is None:
        return spec
    if tail not in TAILS:
        raise UserError(f'tail={tail!r} is unknown; possible: None, {", ".join(TAILS)}')
    if spec.name not in TAILS[tail]:
        raise UserError(
            f'{spec.name!r} has no {tail} tail; possible: None, or one of '
            f'{", ".join(TAILS[tail])}'
        )
    return replace(TAILS[tail][spec.name](spec), name=f'{spec.name}_{tail}')
