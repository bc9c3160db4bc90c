"""The places in a network where a feature map can be taken, and their names.

The paper taps *inside* blocks, so places have names: ``'stem'``, ``'block4'`` (the
block's output), ``'block13.expand'`` (after the expansion's activation),
``'block6.depthwise'`` (after the depthwise activation, before squeeze-and-excite),
``'last'``; ``'C4'`` and ``'C5'`` are the paper's names for the two that SSDLite takes
(Section 6.3).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from mmnv3.arch.layers import Network
from mmnv3.arch.spec import NetSpec, plan_blocks
from mmnv3.errors import UserError


@dataclass(frozen=True)
class Tap:
    """A feature map.

    Args:
        name: Its name.
        layer: The layer that makes it: ``'stem'``, ``'block4'`` or ``'last'``.
        part: ``'expand'`` or ``'depthwise'`` inside a block, ``'out'`` at its end.
        channels: Its channels.
        reduction: How many times smaller than the image it is.
    """

    name: str
    layer: str
    part: str
    channels: int
    reduction: int


def list_taps(spec: NetSpec, output_stride: int = 32) -> dict[str, Tap]:
    """All taps of a network by name, in the order in which they are computed."""
    taps = [Tap('stem', 'stem', 'out', spec.stem.out, spec.stem.stride)]
    for plan in plan_blocks(spec, output_stride):
        name, expand = plan.name, plan.spec.expand
        if plan.has_expand:
            taps.append(
                Tap(f'{name}.expand', name, 'expand', expand, plan.expand_reduction)
            )
        if not plan.spec.fused:
            taps.append(
                Tap(f'{name}.depthwise', name, 'depthwise', expand, plan.reduction)
            )
        taps.append(Tap(name, name, 'out', plan.spec.out, plan.reduction))
    if spec.last:
        taps.append(Tap('last', 'last', 'out', spec.last.out, taps[-1].reduction))
    return {tap.name: tap for tap in taps}


def tap_aliases(spec: NetSpec) -> dict[str, str]:
    """What ``'C4'`` and ``'C5'`` mean in a network.

    ``C5`` is the last feature map. ``C4`` is the deepest one that the block which
    goes from stride 16 to 32 still computes at stride 16: its expansion (bottleneck
    13 of V3-Large, 9 of V3-Small), or the block before it where there is none (V1).
    Neither moves with the output stride.
    """
    plans = list(plan_blocks(spec))
    aliases = {'C5': 'last' if spec.last else plans[-1].name}
    for before, plan in zip(plans, plans[1:]):
        if before.nominal_stride == 16 and plan.nominal_stride == 32:
            inside = plan.has_expand and not plan.spec.fused
            aliases['C4'] = f'{plan.name}.expand' if inside else before.name
    return aliases


def find_taps(
    spec: NetSpec, names: Sequence[str], output_stride: int = 32
) -> tuple[Tap, ...]:
    """Looks taps up by name or alias.

    Raises:
        UserError: For a name that the network does not have; lists those it has.
    """
    taps, aliases = list_taps(spec, output_stride), tap_aliases(spec)
    for name in names:
        if not isinstance(name, str) or aliases.get(name, name) not in taps:
            raise UserError(
                f'{spec.name!r} has no tap {name!r}; possible: '
                f'{", ".join([*aliases, *taps])}'
            )
    return tuple(taps[aliases.get(name, name)] for name in names)


def choose_taps(
    network: Network,
    out_taps: Sequence[str] | None = None,
    out_indices: Sequence[int] | None = None,
) -> tuple[Tap, ...]:
    """The taps that a backbone returns.

    Args:
        network: The network.
        out_taps: Their names; ``('C5',)``, the last feature map, by default.
        out_indices: The same as numbers, which count :attr:`Network.stages`, negative
            ones from the end. Excludes ``out_taps``.

    Raises:
        UserError: For both at once, for none, and for what the network does not have.
    """
    if out_indices is not None:
        if out_taps is not None:
            raise UserError('give out_taps or out_indices, not both')
        stages = network.stages
        if not isinstance(out_indices, list | tuple):
            raise UserError(
                f'out_indices={out_indices!r} must be a sequence of numbers, as (4, 6)'
            )
        for index in out_indices:
            if type(index) is not int or not -len(stages) <= index < len(stages):
                raise UserError(
                    f'out_indices holds {index!r}; possible: 0 to {len(stages) - 1} '
                    f'({stages[-1]!r})'
                )
        out_taps = [stages[index] for index in out_indices]
    if not isinstance(out_taps, list | tuple | None):
        raise UserError(f'out_taps={out_taps!r} must be a sequence of names')
    names = ('C5',) if out_taps is None else tuple(out_taps)
    if not names:
        raise UserError('out_taps is empty; name at least one, as "C5"')
    return find_taps(network.spec, names, network.output_stride)
