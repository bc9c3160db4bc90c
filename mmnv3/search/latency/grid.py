"""Which layers a search may need."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import replace
from itertools import product

from mmnv3.arch import make_divisible
from mmnv3.arch.layers import (
    CONV,
    DEPTHWISE,
    LINEAR,
    PICTURE_CHANNELS,
    SQUEEZE_EXCITE,
    Layer,
)

# Fractions of the widest layer of a group that are measured; a search goes down from
# there to the least width of all, and the MnasNet search space up by a quarter.
FRACTIONS = (0.0, 0.1, 0.25, 0.5, 0.75, 1.0, 1.25)
# Pairs of them for layers with two widths: the corners, the diagonal, and some beside.
_PAIRS = (
    (0, 0),
    (0, 3),
    (0, 6),
    (3, 0),
    (6, 0),
    (1, 1),
    (3, 3),
    (4, 5),
    (5, 4),
    (6, 6),
    (3, 5),
)
_HIDDEN = 0.25
# Depthwise kernels that a search chooses from.
KERNELS = (3, 5)


def search_grid(layers: Iterable[Layer]) -> list[Layer]:
    """Layers between which everything that a search makes of a network lies.

    NetAdapt shrinks any expansion and any bottleneck (Section 4.2), and the platform
    aware search (Section 4.1) changes kernels, squeeze-and-excite and widths. Which
    resolutions, strides and activations there are stays as in the seed.

    Args:
        layers: Those of the seed.

    Returns:
        Them, and of every group of them a few widths down to 8 and up by a quarter;
        none twice, those of the seed first.
    """
    layers = list(layers)
    found = dict.fromkeys(layers)
    widest: dict[Layer, list[int]] = {}
    for layer in _variants(layers):
        best = widest.setdefault(layer.group, [0] * len(layer.widths))
        best[:] = map(max, best, layer.widths)
    for group, widths in widest.items():
        found.update(dict.fromkeys(_widths(group, widths)))
    return list(found)


def _variants(layers: list[Layer]) -> Iterator[Layer]:
    """The layers, and what a search may put in their place."""
    gates = {layer.act for layer in layers if layer.kind == SQUEEZE_EXCITE}
    for layer in layers:
        yield layer
        if layer.kind == DEPTHWISE:
            for kernel in KERNELS:
                yield replace(layer, kernel=kernel)
            width, height = layer.out_size
            for gate in gates or {'hsigmoid'}:
                channels = layer.out_channels
                yield Layer(
                    SQUEEZE_EXCITE,
                    channels,
                    channels,
                    height,
                    width,
                    act=gate,
                    hidden=make_divisible(_HIDDEN * channels),
                )
        elif layer.kind == CONV and layer.kernel == 1 and not layer.act:
            # Whether a block has a residual changes with its neighbours' widths.
            yield replace(layer, residual=not layer.residual)


def _widths(group: Layer, widest: list[int]) -> Iterator[Layer]:
    ladders = [
        [make_divisible(fraction * width) for fraction in FRACTIONS] for width in widest
    ]
    if group.kind == CONV and widest[0] == PICTURE_CHANNELS:
        yield from (group.with_widths(widest[0], out) for out in ladders[1])
    elif group.kind == SQUEEZE_EXCITE:
        for channels, share in product(ladders[0], (_HIDDEN / 2, _HIDDEN)):
            yield group.with_widths(channels, make_divisible(share * channels))
    elif group.kind in (CONV, LINEAR):
        yield from (
            group.with_widths(ladders[0][first], ladders[1][last])
            for first, last in _PAIRS
        )
    else:
        yield from (group.with_widths(channels) for channels in ladders[0])
