"""Small networks that hold copies of a layer, to be timed.

A layer alone would be charged for the call of the runtime and for bringing its input
and output into the layout that the runtime's kernels want, which a network pays once.
So copies with weights of their own stand side by side behind one convolution, and of
each result one pixel is read by a probe that costs next to nothing. What the same
network takes without the copies is subtracted, in
:func:`mmnv3.search.latency.measuring.time_layer`.

PyTorch's exporter takes seconds for each, and a table needs hundreds, so they are
written as ONNX at once, with the operations that it writes for our networks.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from mmnv3.arch.layers import (
    ADD,
    CONV,
    DEPTHWISE,
    LINEAR,
    PICTURE_CHANNELS,
    POOL,
    SQUEEZE_EXCITE,
    Layer,
    same_padding,
)
from mmnv3.deploy.info import INPUT, OUTPUTS, PLAIN, ModelInfo
from mmnv3.models.layers import (
    GATES,
    HardSigmoidTF,
    SqueezeExcite,
    build_act,
    same_conv_cfg,
)
from mmnv3.optional import require
from mmnv3.registry import MODELS

_OPSET = 20
_IR = 10
_ONNX_ACTS: dict[str, tuple[str, dict[str, Any]]] = {
    'relu': ('Relu', {}),
    'hswish': ('HardSwish', {}),
    'sigmoid': ('Sigmoid', {}),
    'hsigmoid': ('HardSigmoid', dict(alpha=1 / 6, beta=0.5)),
}
# Channels of the input, and of what a probe returns.
FEW = 8


def takes_input(layer: Layer) -> bool:
    """Whether a layer gets the network's own input: a picture, or a vector."""
    return layer.kind == LINEAR or layer.in_channels == PICTURE_CHANNELS


def is_chained(layer: Layer) -> bool:
    """Whether copies add up, each to the one before: a sum has to be used once."""
    return layer.kind == ADD or layer.residual


def input_shape(layer: Layer) -> tuple[int, int, int, int]:
    """Of the network around a layer, (1, C, H, W)."""
    channels = layer.in_channels if takes_input(layer) else FEW
    return 1, channels, layer.height, layer.width


def layer_before(layer: Layer) -> Layer | None:
    """What every copy has before it, for kinds that share no work with their like.

    ONNX Runtime pools in another layout than it convolves in, and would bring the one
    input of all copies into it only once.
    """
    if layer.kind not in (SQUEEZE_EXCITE, POOL):
        return None
    channels = layer.in_channels
    size = layer.height, layer.width
    return Layer(DEPTHWISE, channels, channels, *size, kernel=3, act='relu')


def bare_layer(layer: Layer) -> Layer:
    """A layer whose network without the layer is the same as this layer's."""
    if is_chained(layer):
        return replace(layer, kernel=1, dilation=1, act=None)
    kind = LINEAR if layer.kind == LINEAR else POOL if layer_before(layer) else CONV
    channels = layer.in_channels
    return Layer(kind, channels, channels, layer.height, layer.width)


def probed(layer: Layer, bare: bool) -> tuple[int, tuple[int, int]]:
    """Channels and size, (height, width), of what a probe reads."""
    if bare and not is_chained(layer):
        return layer.in_channels, (layer.height, layer.width)
    return layer.out_channels, layer.out_size[::-1]


class LayerGraph(nn.Module):
    """Copies of a layer as a PyTorch module.

    Args:
        layer: The layer.
        copies: How many.
        bare: Whether everything is built but the layer itself.
    """

    def __init__(self, layer: Layer, copies: int, bare: bool = False) -> None:
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


def _module(layer: Layer) -> nn.Module:
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
        assert layer.act, 'squeeze-and-excite has a gate'
        return SqueezeExcite(layer.in_channels, layer.hidden, layer.act)
    if layer.kind == LINEAR:
        linear = nn.Linear(layer.in_channels, layer.out_channels)
        return nn.Sequential(linear, *_act(layer.act))
    return nn.AdaptiveAvgPool2d(1) if layer.kind == POOL else nn.Identity()


def onnx_model(layer: Layer, copies: int, bare: bool, info: ModelInfo) -> Any:
    """Writes the network of a :class:`LayerGraph` as an ONNX model.

    Args:
        layer: The layer.
        copies: How many.
        bare: Whether everything is written but the layer itself.
        info: Description that the model carries.

    Raises:
        UserError: When onnx is not installed.
    """
    onnx = require('onnx', 'onnx')
    writer = _Writer(onnx.helper, onnx.numpy_helper)
    before = layer_before(layer)
    channels, size = probed(layer, bare)

    def copy(x: str) -> str:
        x = writer.layer(x, before) if before else x
        return x if bare else writer.layer(x, layer)

    x = INPUT
    if layer.kind == LINEAR:
        x = writer.add('Flatten', x, axis=1)
    elif not takes_input(layer):
        x = writer.act(writer.conv(x, FEW, layer.in_channels), 'relu')
    if is_chained(layer):
        total = writer.conv(x, layer.in_channels, channels) if layer.residual else x
        for _ in range(0 if bare else copies):
            total = writer.add('Add', total, copy(x))
        results = [total]
    else:
        results = [copy(x) for _ in range(copies)]
    if layer.kind == LINEAR:
        shape = writer.weight(np.array([1, channels, 1, 1]))
        results = [writer.add('Reshape', result, shape) for result in results]
    found = [
        writer.conv(result, channels, FEW, 3, strides=list(size), pads=[1] * 4)
        for result in results
    ]
    writer.add('Concat', *found, axis=1, out=OUTPUTS[PLAIN][0])
    return writer.model(onnx, input_shape(layer), FEW * len(found), info)


class _Writer:
    def __init__(self, helper: Any, numpy_helper: Any) -> None:
        self._helper = helper
        self._numpy = numpy_helper
        self._nodes: list[Any] = []
        self._weights: list[Any] = []
        self._random = np.random.default_rng(0)

    def add(self, op: str, *inputs: str, out: str = '', **attributes: Any) -> str:
        """Appends an operation and names its output."""
        out = out or f'x{len(self._nodes)}'
        self._nodes.append(
            self._helper.make_node(op, list(inputs), [out], **attributes)
        )
        return out

    def weight(self, values: np.ndarray) -> str:
        """Appends a constant and names it."""
        name = f'w{len(self._weights)}'
        self._weights.append(self._numpy.from_array(values, name))
        return name

    def random(self, *shape: int) -> str:
        """Appends random weights; of the size that keeps results of the order of 1."""
        fan_in = max(1, int(np.prod(shape[1:])))
        values = self._random.standard_normal(shape, np.float32)
        return self.weight(values / np.float32(fan_in**0.5))

    def act(self, x: str, name: str | None) -> str:
        """Appends an activation."""
        if name is None:
            return x
        if name == 'relu6':
            return self.clip(x, 0, 6)
        if name == 'hsigmoid_tf':
            factor = HardSigmoidTF.FACTOR
            x = self.add('Mul', x, self.weight(np.array(factor, np.float32)))
            x = self.add('Add', x, self.weight(np.array(3 * factor, np.float32)))
            return self.clip(x, 0, 6 * factor)
        op, attributes = _ONNX_ACTS[name]
        return self.add(op, x, **attributes)

    def clip(self, x: str, low: float, high: float) -> str:
        """Appends limits."""
        limits = (self.weight(np.array(limit, np.float32)) for limit in (low, high))
        return self.add('Clip', x, *limits)

    def conv(
        self,
        x: str,
        channels: int,
        out: int,
        kernel: int = 1,
        groups: int = 1,
        **attributes: Any,
    ) -> str:
        """Appends a convolution with bias."""
        weight = self.random(out, channels // groups, kernel, kernel)
        return self.add(
            'Conv',
            x,
            weight,
            self.random(out),
            group=groups,
            kernel_shape=[kernel, kernel],
            **attributes,
        )

    def layer(self, x: str, layer: Layer) -> str:
        """Appends a layer."""
        return {
            CONV: self._conv_layer,
            DEPTHWISE: self._conv_layer,
            SQUEEZE_EXCITE: self._squeeze_excite,
            LINEAR: self._linear,
            POOL: self._pool,
            ADD: lambda x, _: x,
        }[layer.kind](x, layer)

    def _conv_layer(self, x: str, layer: Layer) -> str:
        found = self.conv(
            x,
            layer.in_channels,
            layer.out_channels,
            layer.kernel,
            layer.in_channels if layer.kind == DEPTHWISE else 1,
            strides=[layer.stride] * 2,
            dilations=[layer.dilation] * 2,
            pads=_pads(layer),
        )
        return self.act(found, layer.act)

    def _pool(self, x: str, layer: Layer) -> str:
        return self.add('GlobalAveragePool', x)

    def _squeeze_excite(self, x: str, layer: Layer) -> str:
        pooled = self._pool(x, layer)
        hidden = self.conv(pooled, layer.in_channels, layer.hidden)
        gate = self.conv(self.act(hidden, 'relu'), layer.hidden, layer.in_channels)
        return self.add('Mul', x, self.act(gate, layer.act))

    def _linear(self, x: str, layer: Layer) -> str:
        weight = self.random(layer.out_channels, layer.in_channels)
        bias = self.random(layer.out_channels)
        return self.act(self.add('Gemm', x, weight, bias, transB=1), layer.act)

    def model(
        self, onnx: Any, shape: Sequence[int], outputs: int, info: ModelInfo
    ) -> Any:
        """The model of all that was appended."""
        kind = onnx.TensorProto.FLOAT
        ports = (
            self._helper.make_tensor_value_info(INPUT, kind, list(shape)),
            self._helper.make_tensor_value_info(
                OUTPUTS[PLAIN][0], kind, [1, outputs, 1, 1]
            ),
        )
        graph = self._helper.make_graph(
            self._nodes, 'layer', [ports[0]], [ports[1]], self._weights
        )
        model = self._helper.make_model(
            graph,
            opset_imports=[self._helper.make_opsetid('', _OPSET)],
            ir_version=_IR,
        )
        self._helper.set_model_props(model, info.to_strings())
        return model


def _pads(layer: Layer) -> list[int]:
    """Padding at the top, left, bottom and right."""
    if layer.padding == 'symmetric':
        return [layer.dilation * (layer.kernel - 1) // 2] * 4
    missing = [
        same_padding(size, layer.kernel, layer.stride, layer.dilation)
        for size in (layer.height, layer.width)
    ]
    return [total // 2 for total in missing] + [total - total // 2 for total in missing]
