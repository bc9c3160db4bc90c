"""What a step of NetAdapt may do to a network (Section 4.2 of the paper).

It may shrink any one expansion, or the bottleneck in all blocks that share it, so that
their residuals stay. It may also, which the paper's does not, leave out a block that
adds to its input: widths alone do not make a network of as many layers fast. Everything
is an edit of the table; nothing here knows weights.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

from mmnv3.arch import Network
from mmnv3.search.target import Price

DIVISOR = 8


@dataclass(frozen=True)
class Edit:
    """A width that can be changed.

    Args:
        kind: ``'expand'`` or ``'bottleneck'``.
        layers: Whose it is: numbers of blocks from 1, and 0 for the stem.
        width: What it is now.
    """

    kind: str
    layers: tuple[int, ...]
    width: int

    def __str__(self) -> str:
        names = [f'block{layer}' if layer else 'stem' for layer in self.layers]
        where = names[0] if len(names) == 1 else f'{names[0]}–{names[-1]}'
        return f'{where} {self.kind}'

    def apply(self, network: Network, width: int) -> Network:
        """The network with another width there.

        A narrower bottleneck keeps expansions as absolute numbers; where a block has no
        expansion convolution its expansion *is* its input, and follows.
        """
        spec = network.spec
        blocks = list(spec.blocks)
        if self.kind == 'expand':
            index = self.layers[0] - 1
            blocks[index] = replace(blocks[index], expand=width)
            return replace(network, spec=replace(spec, blocks=tuple(blocks)))
        stem, before = spec.stem, spec.stem.out
        if 0 in self.layers:
            stem = replace(stem, out=width)
        new_before = stem.out
        for index, block in enumerate(spec.blocks):
            expand = new_before if block.expand == before else block.expand
            out = width if index + 1 in self.layers else block.out
            blocks[index] = replace(block, expand=expand, out=out)
            before, new_before = block.out, out
        spec = replace(spec, stem=stem, blocks=tuple(blocks))
        return replace(network, spec=spec)


@dataclass(frozen=True)
class Proposal:
    """A network that a step may end with.

    Args:
        name: What is changed, as ``'block4 expand 96 → 72'`` or ``'block5 removed'``.
        network: The network.
        latency_us: Its price.
    """

    name: str
    network: Network
    latency_us: float


def groups(network: Network) -> list[tuple[int, ...]]:
    """Which layers' outputs have to be of one width, since residuals add them.

    Returns:
        Numbers of consecutive blocks, from 1, with the stem as 0.
    """
    found = [[0]]
    for number, plan in enumerate(network.plans(), 1):
        if plan.residual:
            found[-1].append(number)
        else:
            found.append([number])
    return [tuple(group) for group in found]


def edits(network: Network) -> list[Edit]:
    """All widths of a network that NetAdapt may shrink.

    The stem is one only where a residual adds its output.
    """
    blocks = list(network.plans())
    return [
        *(
            Edit('expand', (number,), plan.spec.expand)
            for number, plan in enumerate(blocks, 1)
            if plan.has_expand
        ),
        *(
            Edit('bottleneck', group, blocks[group[-1] - 1].spec.out)
            for group in groups(network)
            if group != (0,)
        ),
    ]


def removable(network: Network, numbered: int = 0) -> list[int]:
    """The blocks that can be left out, since they add to their input.

    Of equal blocks in a row the last stands for all.

    Args:
        network: The network.
        numbered: Blocks, from the first, that stay, since others know them, or those
            before them, by their numbers.

    Returns:
        Their numbers, from 1.
    """
    plans = list(network.plans())
    return [
        number
        for number, (plan, following) in enumerate(zip(plans, [*plans[1:], None]), 1)
        if plan.residual
        and number > numbered
        and not (following and following.residual and following.spec == plan.spec)
    ]


def without_block(network: Network, number: int) -> Network:
    """A network without a block, whose input goes to the next one.

    Args:
        network: The network.
        number: Of the block, from 1; see :func:`removable`.
    """
    blocks = list(network.spec.blocks)
    del blocks[number - 1]
    return replace(network, spec=replace(network.spec, blocks=tuple(blocks)))


def proposals(
    network: Network, price: Price, cut_us: float, numbered: int = 0
) -> Iterator[Proposal]:
    """Shrinks one width after the other as little as cuts enough, and removes blocks.

    Args:
        network: The network.
        price: Of networks, neck and head included: C4 is an expansion that feeds them.
        cut_us: Microseconds to cut at least; the paper's δ.
        numbered: See :func:`removable`.

    Yields:
        For every expansion and every shared bottleneck the network with the largest
        multiple of 8 there that is ``cut_us`` faster, where there is one; and without
        each block that can be left out, where that is enough.
    """
    limit_us = price(network.spec) - cut_us
    for edit in edits(network):
        width = _largest(edit, network, price, limit_us)
        if width is not None:
            edited = edit.apply(network, width)
            yield Proposal(
                f'{edit} {edit.width} → {width}', edited, float(price(edited.spec))
            )
    for number in removable(network, numbered):
        shorter = without_block(network, number)
        latency_us = float(price(shorter.spec))
        if latency_us <= limit_us:
            yield Proposal(f'block{number} removed', shorter, latency_us)


def _widths(edit: Edit, network: Network) -> list[int]:
    """Smaller widths that neither remove a layer or a residual nor add one."""
    least = DIVISOR
    if edit.kind == 'expand':
        before = list(network.plans())[edit.layers[0] - 1].in_channels
        # What expands shall go on doing so.
        least = max(least, before if before < edit.width else 0)
    least = -(-least // DIVISOR) * DIVISOR
    widths = range(least, edit.width, DIVISOR)
    return [width for width in widths if _keeps_layers(edit, network, width)]


def _keeps_layers(edit: Edit, network: Network, width: int) -> bool:
    try:
        edited = edit.apply(network, width)
    except ValueError:  # A fused block of stride 2 cannot do without its expansion.
        return False
    return _structure(edited) == _structure(network)


def _structure(network: Network) -> list[tuple[bool, bool]]:
    return [(plan.has_expand, plan.residual) for plan in network.plans()]


def _largest(edit: Edit, network: Network, price: Price, limit_us: float) -> int | None:
    """The largest width whose price is within a limit, by halving."""
    widths = _widths(edit, network)
    if not widths or price(edit.apply(network, widths[0]).spec) > limit_us:
        return None
    low, high = 0, len(widths) - 1
    while low < high:
        middle = (low + high + 1) // 2
        if price(edit.apply(network, widths[middle]).spec) <= limit_us:
            low = middle
        else:
            high = middle - 1
    return widths[low]


def narrowest(network: Network, numbered: int | None = None) -> Network:
    """The network that is left when nothing more can be shrunk.

    Args:
        network: The network.
        numbered: See :func:`removable`; for None no block is left out.
    """
    while numbered is not None and (numbers := removable(network, numbered)):
        network = without_block(network, numbers[-1])
    # Bottlenecks first: expansions have to stay above them.
    for kind in ('bottleneck', 'expand'):
        for edit in edits(network):
            widths = _widths(edit, network) if edit.kind == kind else []
            if widths:
                network = edit.apply(network, widths[0])
    return network
