"""Small networks that hold copies of a layer, to be timed.

A layer alone would be charged for the call of the runtime and for bringing its input
and output into the layout that the runtime's kernels want, which a network pays once.
So copies with weights of their own stand side by side behind one convolution, and of
each result one pixel is read by a probe that costs next to nothing. What the same
network takes without the copies is subtracted; see :mod:`mmnv3.search.latency.timing`.
"""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor, nn

from mmnv3.models.layers import GATES, SqueezeExcite, build_act, same_conv_cfg
from mmnv3.registry import MODELS
from mmnv3.search.latency.layers import (
    ADD,
    CONV,
    DEPTHWISE,
    LINEAR,
    PICTURE_CHANNELS,
    POOL,
    REST,
    SQUEEZE_EXCITE,
    LayerShape,
)

# Channels of the input, and of what a probe returns.
FEW = 8


def takes_input(layer: LayerShape) -> bool:
    """Whether a layer gets the network's own input: a picture, or a vector."""
    return layer.kind == LINEAR or layer.in_channels == PICTURE_CHANNELS


def is_chained(layer: LayerShape) -> bool:
    """Whether copies add up, each to the one before: a sum has to be used once."""
    return layer.kind == ADD or layer.residual


def input_shape(layer: LayerShape) -> tuple[int, int, int, int]:
    """Of the network around a layer, (1, C, H, W)."""
    channels = layer.in_channels if takes_input(layer) else FEW
    return 1, channels, layer.height, layer.width


def layer_before(layer: LayerShape) -> LayerShape | None:
    """What every copy has before it, for kinds that share no work with their like.

    ONNX Runtime pools in another layout than it convolves in, and would bring the one
    input of all copies into it only once.
    """
    if layer.kind not in (SQUEEZE_EXCITE, POOL):
        return None
    channels = layer.in_channels
    size = layer.height, layer.width
    return LayerShape(DEPTHWISE, channels, channels, *size, kernel=3, act='relu')


def bare_layer(layer: LayerShape) -> LayerShape:
    """A layer whose network without the layer is the same as this layer's."""
    if is_chained(layer):
        return replace(layer, kernel=1, dilation=1, act=None)
    kind = LINEAR if layer.kind == LINEAR else POOL if layer_before(layer) else CONV
    channels = layer.in_channels
    return LayerShape(kind, channels, channels, layer.height, layer.width)


def probed(layer: LayerShape, bare: bool) -> tuple[int, tuple[int, int]]:
    """Channels and size of what a probe reads."""
    if bare and not is_chained(layer):
        return layer.in_channels, (layer.height, layer.width)
    return layer.out_channels, layer.out_size


class LayerGraph(nn.Module):
    """Copies of a layer as a PyTorch module.

    Args:
        layer: The layer.
        copies: How many.
        bare: Whether everything is built but the layer itself.
    """

    def __init__(self, layer: LayerShape, copies: int, bare: bool = False) -> None:
        super().__init__()
        self.layer = layer
        self.chained = is_chained(layer)
        before = layer_before(layer)
        self.pre = None if takes_input(layer) else _Pre(layer.in_channels)
        self.start = (
            nn.Conv2d(layer.in_channels, layer.out_channels, 1)
            if layer.residual
            else nn.Identity()
        )
        self.copies = nn.ModuleList(
            nn.Sequential(
                *([_module(before)] if before else []),
                *([] if bare else [_module(layer)]),
            )
            for _ in range(0 if bare and self.chained else copies)
        )
        channels, size = probed(layer, bare)
        self.probes = nn.ModuleList(
            nn.Conv2d(channels, FEW, 3, stride=size, padding=1)
            for _ in range(1 if self.chained else copies)
        )

    def forward(self, x: Tensor) -> list[Tensor]:
        """Maps (1, C, H, W) to what the probes read, (1, FEW, 1, 1) each."""
        if self.layer.kind == LINEAR:
            x = x.flatten(1)
        else:
            x = x.contiguous(memory_format=torch.channels_last)
        x = x if self.pre is None else self.pre(x)
        if self.chained:
            total = self.start(x)
            for copy in self.copies:
                total = total + copy(x)
            results = [total]
        else:
            results = [copy(x) for copy in self.copies]
        if self.layer.kind == LINEAR:
            results = [result[..., None, None] for result in results]
        return [probe(result) for probe, result in zip(self.probes, results)]


class _Pre(nn.Sequential):
    def __init__(self, channels: int) -> None:
        super().__init__(nn.Conv2d(FEW, channels, 1), nn.ReLU())


def _act(name: str | None) -> list[nn.Module]:
    if name is None:
        return []
    return [GATES[name]() if name in GATES else build_act(name)]


def _module(layer: LayerShape) -> nn.Module:
    """The layer as our networks have it, its normalisation folded."""
    if layer.kind in (CONV, DEPTHWISE):
        name = same_conv_cfg(layer.padding, layer.stride)
        kind = MODELS.get(name['type']) if name else nn.Conv2d
        conv = kind(
            layer.in_channels,
            layer.out_channels,
            layer.kernel,
            stride=layer.stride,
            padding=layer.dilation * (layer.kernel - 1) // 2,
            dilation=layer.dilation,
            groups=layer.in_channels if layer.kind == DEPTHWISE else 1,
        )
        return nn.Sequential(conv, *_act(layer.act))
    if layer.kind == SQUEEZE_EXCITE:
        return SqueezeExcite(layer.in_channels, layer.hidden, layer.act)
    if layer.kind == LINEAR:
        linear = nn.Linear(layer.in_channels, layer.out_channels)
        return nn.Sequential(linear, *_act(layer.act))
    return {POOL: nn.AdaptiveAvgPool2d(1), ADD: nn.Identity(), REST: nn.Identity()}[
        layer.kind
    ]
