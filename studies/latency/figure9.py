"""Figure 9: the way from MnasNet-A1 to MobileNetV3-Large, as edits of a specification.

The paper's text gives neither names, nor an order, nor figures of these steps. What
each of them changes is what its Sections 4 and 5 describe; the order is ours.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace

from mmnv3.arch import ZOO, ConvSpec, NetSpec, SqueezeExcite

_START, _END = ZOO['mnasnet_a1'], ZOO['large']
# Where the second half begins: blocks with so many output channels use h-swish.
_HSWISH_FROM = 80


@dataclass(frozen=True)
class Step:
    """A step of Figure 9.

    Args:
        name: What is new.
        section: Where the paper describes it.
        edit: Makes the specification out of that of the step before.
    """

    name: str
    section: str
    edit: Callable[[NetSpec], NetSpec]


def _shorten_end(spec: NetSpec) -> NetSpec:
    """The last block's expansion becomes the last layer before pooling.

    Its depthwise convolution and its projection go, and the 1280 channels come after
    pooling, where they cost one pixel.
    """
    return replace(
        spec,
        blocks=spec.blocks[:-1],
        last=ConvSpec(spec.blocks[-1].expand, act='relu'),
        head=ConvSpec(spec.last.out, act='relu', scaled='never'),
    )


def _thin_stem(spec: NetSpec) -> NetSpec:
    """16 filters with h-swish; the first block, which does not expand, follows."""
    stem = _END.stem
    first = replace(spec.blocks[0], expand=stem.out)
    return replace(spec, stem=stem, blocks=(first, *spec.blocks[1:]))


def _adapt_widths(spec: NetSpec) -> NetSpec:
    """The widths that the paper prints for the outcome, as NetAdapt left them."""
    blocks = (
        replace(block, expand=end.expand, out=end.out)
        for block, end in zip(spec.blocks, _END.blocks, strict=True)
    )
    return replace(spec, blocks=tuple(blocks))


def _use_hswish(spec: NetSpec) -> NetSpec:
    blocks = (
        replace(block, act='hswish') if block.out >= _HSWISH_FROM else block
        for block in spec.blocks
    )
    return replace(
        spec,
        blocks=tuple(blocks),
        last=replace(spec.last, act='hswish'),
        head=replace(spec.head, act='hswish'),
    )


def _enlarge_se(spec: NetSpec) -> NetSpec:
    """A quarter of the expansion, in place of the input, and the hard sigmoid."""
    blocks = (replace(block, se=block.se and SqueezeExcite()) for block in spec.blocks)
    return replace(spec, blocks=tuple(blocks))


STEPS = (
    Step('MnasNet-A1', '4.1', lambda spec: spec),
    Step('efficient last stage', '5.1', _shorten_end),
    Step('stem of 16 filters with h-swish', '5.1', _thin_stem),
    Step("NetAdapt's widths", '4.2', _adapt_widths),
    Step('h-swish in the second half', '5.2', _use_hswish),
    Step('large squeeze-and-excite, hard sigmoid: V3-Large', '5.3', _enlarge_se),
)


def step_specs() -> Iterator[tuple[Step, NetSpec]]:
    """Yields every step with its network, from MnasNet-A1 to MobileNetV3-Large."""
    spec = _START
    for number, step in enumerate(STEPS):
        spec = replace(step.edit(spec), name=f'figure9_{number}')
        yield step, spec
