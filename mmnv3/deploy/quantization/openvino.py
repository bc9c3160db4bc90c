"""8-bit OpenVINO files, by NNCF."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from mmnv3.deploy.info import INPUT
from mmnv3.deploy.quantization import check_halves, quiet
from mmnv3.optional import require

_KERNELS = ('Convolution', 'GroupConvolution', 'MatMul')


def quantize(source: Path, out: Path, batches: Sequence[np.ndarray]) -> None:
    """See :func:`mmnv3.deploy.quantization.quantize`."""
    openvino = require('openvino', 'openvino')
    with quiet():
        nncf = require('nncf', 'openvino')
        model = openvino.Core().read_model(source)
        quantized = nncf.quantize(
            model,
            nncf.Dataset(batches, lambda batch: {INPUT: batch}),
            # Activations with a zero point of their own: hard swish is lopsided.
            preset=nncf.QuantizationPreset.MIXED,
            subset_size=len(batches),
            ignored_scope=nncf.IgnoredScope(names=_around_kernels(model)),
            # It would halve the kernels' range for CPUs without VNNI.
            advanced_parameters=nncf.AdvancedQuantizationParameters(
                overflow_fix=nncf.OverflowFix.DISABLE
            ),
        )
    openvino.save_model(quantized, out, compress_to_fp16=False)


def halve(source: Path, out: Path) -> None:
    """See :func:`mmnv3.deploy.quantization.halve`."""
    openvino = require('openvino', 'openvino')
    ops = openvino.opset14
    model = openvino.Core().read_model(source)
    for node in model.get_ordered_ops():
        if node.get_type_name() not in _KERNELS:
            continue
        weights = _constant_behind(node.input(1).get_source_output())
        if weights is None or weights.get_element_type() != openvino.Type.f32:
            continue
        check_halves(weights.data, source)
        half = ops.constant(weights.data.astype(np.float16))
        wide = ops.convert(half, 'f32')
        for reader in weights.output(0).get_target_inputs():
            reader.replace_source_output(wide.output(0))
    openvino.save_model(model, out, compress_to_fp16=False)


def _constant_behind(output: Any) -> Any:
    """The constant that an output is, maybe in another shape; None for others."""
    node = output.get_node()
    while node.get_type_name() == 'Reshape':
        node = node.input(0).get_source_output().get_node()
    return node if node.get_type_name() == 'Constant' else None


def _around_kernels(model: Any) -> list[str]:
    """Names of the nodes that no convolution comes after, or none before."""
    nodes = model.get_ordered_ops()
    before, after = set[str](), set[str]()
    for node in reversed(nodes):
        readers = [
            reader.get_node()
            for output in node.outputs()
            for reader in output.get_target_inputs()
        ]
        if any(map(partial(_is_kernel_or_among, before), readers)):
            before.add(node.get_friendly_name())
    for node in nodes:
        sources = [part.get_source_output().get_node() for part in node.inputs()]
        if any(map(partial(_is_kernel_or_among, after), sources)):
            after.add(node.get_friendly_name())
    between = before & after
    return [
        node.get_friendly_name()
        for node in nodes
        if node.get_type_name() not in (*_KERNELS, 'Constant', 'Parameter', 'Result')
        and node.get_friendly_name() not in between
    ]


def _is_kernel_or_among(names: set[str], node: Any) -> bool:
    return node.get_type_name() in _KERNELS or node.get_friendly_name() in names
