"""The networks of :mod:`mmnv3.search.latency.graphs` written as ONNX at once.

PyTorch's exporter takes seconds for each, and a table needs hundreds. The operations
are those that it writes for our networks.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from mmnv3.deploy.info import INPUT, OUTPUTS, PLAIN, ModelInfo
from mmnv3.deploy.optional import require
from mmnv3.search.latency.graphs import (
    FEW,
    input_shape,
    is_chained,
    layer_before,
    probed,
    takes_input,
)
from mmnv3.search.latency.layers import (
    ADD,
    CONV,
    DEPTHWISE,
    LINEAR,
    POOL,
    SQUEEZE_EXCITE,
    LayerShape,
)

_OPSET = 20
_IR = 10
_ACTS: dict[str, tuple[str, dict[str, float]]] = {
    'relu': ('Relu', {}),
    'hswish': ('HardSwish', {}),
    'sigmoid': ('Sigmoid', {}),
    'hsigmoid': ('HardSigmoid', dict(alpha=1 / 6, beta=0.5)),
}


def onnx_model(layer: LayerShape, copies: int, bare: bool, info: ModelInfo) -> Any:
    """Writes copies of a layer as an ONNX model.

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
            limits = (self.weight(np.float32(limit)) for limit in (0, 6))
            return self.add('Clip', x, *limits)
        op, attributes = _ACTS[name]
        return self.add(op, x, **attributes)

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

    def layer(self, x: str, layer: LayerShape) -> str:
        """Appends a layer."""
        return {
            CONV: self._conv_layer,
            DEPTHWISE: self._conv_layer,
            SQUEEZE_EXCITE: self._squeeze_excite,
            LINEAR: self._linear,
            POOL: self._pool,
            ADD: lambda x, _: x,
        }[layer.kind](x, layer)

    def _conv_layer(self, x: str, layer: LayerShape) -> str:
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

    def _pool(self, x: str, layer: LayerShape) -> str:
        """As PyTorch's exporter writes pooling of a channels-last map."""
        axes = self.weight(np.array([-1, -2]))
        pooled = self.add('ReduceMean', x, axes, keepdims=1)
        flat = self.add('Reshape', pooled, self.weight(np.array([-1])))
        index = np.arange(layer.in_channels).reshape(1, -1, 1, 1)
        return self.add('Gather', flat, self.weight(index), axis=0)

    def _squeeze_excite(self, x: str, layer: LayerShape) -> str:
        pooled = self._pool(x, layer)
        hidden = self.conv(pooled, layer.in_channels, layer.hidden)
        gate = self.conv(self.act(hidden, 'relu'), layer.hidden, layer.in_channels)
        return self.add('Mul', x, self.act(gate, layer.act))

    def _linear(self, x: str, layer: LayerShape) -> str:
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


def _pads(layer: LayerShape) -> list[int]:
    """Padding at the top, left, bottom and right."""
    reach = layer.dilation * (layer.kernel - 1)
    if layer.padding == 'symmetric':
        return [reach // 2] * 4
    missing = [
        max((-(-size // layer.stride) - 1) * layer.stride + reach + 1 - size, 0)
        for size in (layer.height, layer.width)
    ]
    return [total // 2 for total in missing] + [total - total // 2 for total in missing]
