"""8-bit ONNX files, for ONNX Runtime's CPU kernels.

Those win with 1x1 convolutions and lose with depthwise ones, which they compute more
slowly than float ones with their activation fused. They have none for hard swish, which
stays float between conversions. So it pays where maps are small and kernels many:
from stride 16 on.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from mmnv3.deploy.info import INPUT
from mmnv3.deploy.quantization import check_halves, quiet
from mmnv3.optional import require

_KERNELS = ('Conv', 'Gemm', 'MatMul')
# Rows of the picture for one row of the map, of which 16 and more are quantised. Maps
# round up, so the limit is between 8 and 16.
_MIN_STRIDE = 12


def quantize(source: Path, out: Path, batches: Sequence[np.ndarray]) -> None:
    """See :func:`mmnv3.deploy.quantization.quantize`."""
    onnx = require('onnx', 'onnx')
    tools = require('onnxruntime.quantization', 'onnx')
    model = onnx.shape_inference.infer_shapes(onnx.load(source))

    base: Any = tools.CalibrationDataReader

    class Reader(base):
        def __init__(self) -> None:
            self._left = iter(batches)

        def get_next(self) -> dict[str, np.ndarray] | None:
            batch = next(self._left, None)
            return None if batch is None else {INPUT: batch}

    with quiet():
        tools.quantize_static(
            model,
            out,
            Reader(),
            # VNNI multiplies unsigned by signed; other types took 1.6 to 2.6 times as
            # long.
            activation_type=tools.QuantType.QUInt8,
            weight_type=tools.QuantType.QInt8,
            per_channel=True,
            nodes_to_exclude=sorted(_float_nodes(model)),
            # The mean of the pictures' extremes. The extreme of all made the steps so
            # large that a detector lost a point of AP.
            extra_options={'CalibMovingAverage': True},
        )
    quantized = onnx.load(out)
    described = {entry.key: entry.value for entry in model.metadata_props}
    onnx.helper.set_model_props(quantized, described)
    onnx.save(quantized, out)


def halve(source: Path, out: Path) -> None:
    """See :func:`mmnv3.deploy.quantization.halve`.

    ONNX Runtime computes few operations in 16 bits on a CPU, so that kernels are cast
    back, which it does once, when it loads the file.
    """
    onnx = require('onnx', 'onnx')
    model = onnx.load(source)
    graph, wide = model.graph, onnx.TensorProto.FLOAT
    kernels = {
        node.input[1]
        for node in graph.node
        if node.op_type in _KERNELS and len(node.input) > 1
    }
    casts = []
    for weights in graph.initializer:
        if weights.name not in kernels or weights.data_type != wide:
            continue
        values, name = onnx.numpy_helper.to_array(weights), weights.name
        check_halves(values, source)
        half = f'{name}_half'
        weights.CopyFrom(onnx.numpy_helper.from_array(values.astype(np.float16), half))
        casts.append(onnx.helper.make_node('Cast', [half], [name], to=wide))
    nodes = [*casts, *graph.node]
    del graph.node[:]
    graph.node.extend(nodes)
    onnx.checker.check_model(model, full_check=True)
    onnx.save(model, out)


def _float_nodes(model: Any) -> set[str]:
    """Names of the nodes that stay float."""
    graph, rows = model.graph, _rows(model.graph)
    described = {entry.key: entry.value for entry in model.metadata_props}
    most_rows = json.loads(described['input_shape'])[2]
    readers: dict[str, list] = {}
    for node in graph.node:
        for name in node.input:
            readers.setdefault(name, []).append(node)
    fine, before_kernel = set(), set()
    for node in reversed(graph.node):
        after = [reader for name in node.output for reader in readers.get(name, ())]
        if any(r.op_type in _KERNELS or r.name in before_kernel for r in after):
            before_kernel.add(node.name)
        most = max((rows.get(name, 0) for name in node.output), default=0)
        # A gate has one row, and belongs to the map that it scales.
        gates = most == 1 and any(reader.name in fine for reader in after)
        if gates or most * _MIN_STRIDE > most_rows:
            fine.add(node.name)
    outside, after_kernel = set(), set[str]()  # The latter are names of outputs.
    for node in graph.node:
        is_kernel = node.op_type in _KERNELS
        is_after = not after_kernel.isdisjoint(node.input)
        if is_kernel or is_after:
            after_kernel.update(node.output)
        if not is_kernel and not (is_after and node.name in before_kernel):
            outside.add(node.name)
    return fine | outside


def _rows(graph: Any) -> dict[str, int]:
    """Rows of every map, (N, C, H, W), by its name."""
    shapes = {
        value.name: [d.dim_value for d in value.type.tensor_type.shape.dim]
        for value in (*graph.input, *graph.value_info, *graph.output)
    }
    return {name: shape[2] for name, shape in shapes.items() if len(shape) == 4}
