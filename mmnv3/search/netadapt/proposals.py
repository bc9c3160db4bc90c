"""What a step of NetAdapt may do to a network (Section 4.2 of the paper).

It may shrink any one expansion, or the bottleneck in all blocks that share it, so that
their residuals stay. Everything is an edit of the table; nothing here knows weights.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace

from mmnv3.arch import BlockPlan, NetSpec, plan_blocks

DIVISOR = 8

Price = Callable[[NetSpec], float]


@dataclass(frozen=True)
class Rules:
    """How a network is built from its table, as far as that decides its residuals.

    Args:
        output_stride: The backbone's.
        dilation: The backbone's.
    """

    output_stride: int = 32
    dilation: str = 'tensorflow'

    def plan(self, spec: NetSpec) -> list[BlockPlan]:
        """The blocks of a network."""
        return list(plan_blocks(spec, self.output_stride, self.dilation))


# A backbone's defaults.
PLAIN = Rules()


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

    def apply(self, spec: NetSpec, width: int) -> NetSpec:
        """The network with another width there.

        A narrower bottleneck keeps expansions as absolute numbers; where a block has no
        expansion convolution its expansion *is* its input, and follows.
        """
        blocks = list(spec.blocks)
        if self.kind == 'expand':
            index = self.layers[0] - 1
            blocks[index] = replace(blocks[index], expand=width)
            return replace(spec, blocks=tuple(blocks))
        stem, before = spec.stem, spec.stem.out
        if 0 in self.layers:
            stem = replace(stem, out=width)
        new_before = stem.out
        for index, block in enumerate(spec.blocks):
            expand = new_before if block.expand == before else block.expand
            out = width if index + 1 in self.layers else block.out
            blocks[index] = replace(block, expand=expand, out=out)
            before, new_before = block.out, out
        return replace(spec, stem=stem, blocks=tuple(blocks))


@dataclass(frozen=True)
class Proposal:
    """A network that a step may end with.

    Args:
        name: What is changed, as ``'block4 expand 96 → 72'``.
        spec: The network.
        latency: Its price in microseconds.
    """

    name: str
    spec: NetSpec
    latency: float


def groups(spec: NetSpec, rules: Rules = PLAIN) -> list[tuple[int, ...]]:
    """Which layers' outputs have to be of one width, since residuals add them.

    Args:
        spec: The network.
        rules: How it is built.

    Returns:
        Numbers of consecutive blocks, from 1, with the stem as 0.
    """
    found = [[0]]
    for number, plan in enumerate(rules.plan(spec), 1):
        if plan.residual:
            found[-1].append(number)
        else:
            found.append([number])
    return [tuple(group) for group in found]


def edits(spec: NetSpec, rules: Rules = PLAIN) -> list[Edit]:
    """All widths of a network that NetAdapt may shrink.

    The stem is one only where a residual adds its output.
    """
    blocks = rules.plan(spec)
    return [
        *(
            Edit('expand', (number,), plan.spec.expand)
            for number, plan in enumerate(blocks, 1)
            if plan.has_expand
        ),
        *(
            Edit('bottleneck', group, spec.blocks[group[-1] - 1].out)
            for group in groups(spec, rules)
            if group != (0,)
        ),
    ]


def proposals(
    spec: NetSpec, price: Price, cut: float, rules: Rules = PLAIN
) -> Iterator[Proposal]:
    """Shrinks one width after the other as little as cuts enough.

    Args:
        spec: The network.
        price: Microseconds of a network, neck and head included: C4 is an expansion
            that feeds them.
        cut: Microseconds to cut at least; the paper's δ.
        rules: How the network is built.

    Yields:
        For every expansion and every shared bottleneck the network with the largest
        multiple of 8 there that is ``cut`` faster, where there is one.
    """
    limit = price(spec) - cut
    for edit in edits(spec, rules):
        width = _largest(edit, spec, price, limit, rules)
        if width is not None:
            edited = edit.apply(spec, width)
            yield Proposal(
                f'{edit} {edit.width} → {width}', edited, float(price(edited))
            )


def _widths(edit: Edit, spec: NetSpec, rules: Rules) -> list[int]:
    """Smaller widths that neither remove a layer or a residual nor add one."""
    least = DIVISOR
    if edit.kind == 'expand':
        before = rules.plan(spec)[edit.layers[0] - 1].in_channels
        # What expands shall go on doing so.
        least = max(least, before if before < edit.width else 0)
    least = -(-least // DIVISOR) * DIVISOR
    widths = range(least, edit.width, DIVISOR)
    return [width for width in widths if _keeps_layers(edit, spec, width, rules)]


def _keeps_layers(edit: Edit, spec: NetSpec, width: int, rules: Rules) -> bool:
    try:
        edited = edit.apply(spec, width)
    except ValueError:  # A fused block of stride 2 cannot do without its expansion.
        return False
    return _structure(edited, rules) == _structure(spec, rules)


def _structure(spec: NetSpec, rules: Rules) -> list[tuple[bool, bool]]:
    return [(plan.has_expand, plan.residual) for plan in rules.plan(spec)]


def _largest(
    edit: Edit, spec: NetSpec, price: Price, limit: float, rules: Rules
) -> int | None:
    """The largest width whose price is within a limit, by halving."""
    widths = _widths(edit, spec, rules)
    low, high = -1, len(widths) - 1
    if not widths or price(edit.apply(spec, widths[0])) > limit:
        return None
    low = 0
    while low < high:
        middle = (low + high + 1) // 2
        if price(edit.apply(spec, widths[middle])) <= limit:
            low = middle
        else:
            high = middle - 1
    return widths[low]


def narrowest(spec: NetSpec, rules: Rules = PLAIN) -> NetSpec:
    """The network that is left when nothing more can be shrunk."""
    # Bottlenecks first: expansions have to stay above them.
    for kind in ('bottleneck', 'expand'):
        for edit in edits(spec, rules):
            widths = _widths(edit, spec, rules) if edit.kind == kind else []
            if widths:
                spec = edit.apply(spec, widths[0])
    return spec
