"""Uniform width multipliers, what a search is compared with."""

from __future__ import annotations

from dataclasses import replace

from mmnv3.arch import NetSpec, scale_width
from mmnv3.search.netadapt.proposals import PLAIN, Price, Rules


def uniform(spec: NetSpec, width: float, rules: Rules = PLAIN) -> NetSpec:
    """The network under a width multiplier, with the residuals that it has.

    Without that two widths that become equal would add a residual, and inherited
    weights would meet it unprepared.
    """
    scaled = scale_width(spec, width)
    blocks = tuple(
        replace(block, residual=plan.residual)
        for block, plan in zip(scaled.blocks, rules.plan(spec), strict=True)
    )
    return replace(scaled, blocks=blocks)


def thinnest_multiplier(spec: NetSpec) -> int:
    """The least width multiplier, in hundredths, that keeps more than half of 8."""
    return int(400 / min(spec.stem.out, *(block.out for block in spec.blocks))) + 1


def closest_multiplier(
    spec: NetSpec, price: Price, latency: float, rules: Rules = PLAIN
) -> float | None:
    """The width multiplier, in hundredths, whose latency is closest to one.

    Widths are multiples of 8, so latencies have gaps: it may be a little slower.

    Args:
        spec: The network at multiplier 1.
        price: Microseconds of a network.
        latency: In microseconds.
        rules: How the network is built.

    Returns:
        The multiplier, at most 1, or None when even the thinnest is slower.
    """
    low = thinnest_multiplier(spec)
    if price(uniform(spec, low / 100, rules)) > latency:
        return None
    high = 100
    while low < high:
        middle = (low + high + 1) // 2
        if price(uniform(spec, middle / 100, rules)) <= latency:
            low = middle
        else:
            high = middle - 1
    return min(
        (width / 100 for width in (low, min(low + 1, 100))),
        key=lambda width: abs(price(uniform(spec, width, rules)) - latency),
    )


def near_multipliers(
    spec: NetSpec, width: float, count: int, rules: Rules = PLAIN
) -> list[float]:
    """Width multipliers near one, each of another network.

    Args:
        spec: The network at multiplier 1.
        width: In whole hundredths; the first that is returned.
        count: How many, if there are so many.
        rules: How the network is built.
    """
    middle = round(100 * width)
    possible = range(thinnest_multiplier(spec), 101)
    found: dict[NetSpec, float] = {}
    for hundredths in sorted(possible, key=lambda other: abs(other - middle)):
        if len(found) < count:
            scaled = uniform(spec, hundredths / 100, rules)
            # Its name has the multiplier in it.
            found.setdefault(replace(scaled, name=spec.name), hundredths / 100)
    return list(found.values())
