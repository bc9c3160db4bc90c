"""8-bit LiteRT files, for XNNPACK's kernels."""

from __future__ import annotations

import json
import os
import zipfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from mmnv3.deploy.info import EXTRA_FILE, INPUT, ModelInfo
from mmnv3.deploy.quantization import quiet
from mmnv3.deploy.tflite_metadata import write_tflite
from mmnv3.optional import require

# Operations are named by the modules they are from. What the graph around the model
# adds, as decoding, has none below it.
_OF_MODEL = r'.*Graph_network/.*'
# Axis of the output channels of the kernels that have a bias.
_CHANNEL_AXES = {'CONV_2D': 0, 'DEPTHWISE_CONV_2D': 3, 'FULLY_CONNECTED': 0}
# The smallest that the largest weight of a channel may be, for a bias of one.
_LEAST_WEIGHT = 1e-4


def quantize(source: Path, out: Path, batches: Sequence[np.ndarray]) -> None:
    """See :func:`mmnv3.deploy.quantization.quantize`."""
    with quiet():
        tools = require('ai_edge_quantizer.quantizer', 'litert')
        algorithms = require('ai_edge_quantizer.algorithm_manager', 'litert')
        kinds = require('ai_edge_quantizer.qtyping', 'litert').TFLOperationName
        quantizer = tools.Quantizer(_with_live_channels(source))
        quantizer.add_static_config(
            _OF_MODEL, kinds.ALL_SUPPORTED, activation_num_bits=8, weight_num_bits=8
        )
        # A classifier's last layers. Logits of 8 bits would tie. (The very last one is
        # named as the output, so no module's name finds it.)
        quantizer.add_dynamic_config('.*', kinds.FULLY_CONNECTED, num_bits=8)
        # Upstream fault: LiteRT 2.3 does not hand 8-bit hard swish to XNNPACK. Its own
        # kernel, and falling out of XNNPACK for it, took 8.5 of SSDLite-Large's 12.2
        # ms. Float, it and the conversions around it are XNNPACK's. Goes when LiteRT
        # hands it over.
        quantizer.update_quantization_recipe(
            '.*',
            kinds.HARD_SWISH,
            algorithm_key=algorithms.AlgorithmName.NO_QUANTIZE,
        )
        found = quantizer.calibrate(
            {_signature(source): [{INPUT: batch} for batch in batches]},
            num_threads=os.cpu_count(),
        )
        made = quantizer.quantize(
            found, enable_progress_bar=False, enable_progress_report=False
        )
    _write(made.quantized_model, source, out)


def halve(source: Path, out: Path) -> None:
    """See :func:`mmnv3.deploy.quantization.halve`."""
    with quiet():
        tools = require('ai_edge_quantizer.quantizer', 'litert')
        algorithms = require('ai_edge_quantizer.algorithm_manager', 'litert')
        typing = require('ai_edge_quantizer.qtyping', 'litert')
        quantizer = tools.Quantizer(str(source))
        for name in _CHANNEL_AXES:
            quantizer.update_quantization_recipe(
                '.*',
                typing.TFLOperationName[name],
                algorithm_key=algorithms.AlgorithmName.FLOAT_CASTING,
                op_config=typing.OpQuantizationConfig(
                    weight_tensor_config=typing.TensorQuantizationConfig(
                        num_bits=16, dtype=typing.TensorDataType.FLOAT
                    ),
                    compute_precision=typing.ComputePrecision.FLOAT,
                    explicit_dequantize=True,
                ),
            )
        made = quantizer.quantize(
            enable_progress_bar=False, enable_progress_report=False
        )
    _write(made.quantized_model, source, out)


def _write(model: bytes, source: Path, out: Path) -> None:
    """Writes a model, with the description of a file."""
    with zipfile.ZipFile(source) as archive:
        strings = json.loads(archive.read(EXTRA_FILE))
    write_tflite(bytes(model), ModelInfo.from_strings(strings, str(source)), out)


def _signature(path: Path) -> str:
    litert = require('ai_edge_litert.interpreter', 'litert')
    return next(iter(litert.Interpreter(str(path)).get_signature_list()))


def _with_live_channels(path: Path) -> bytes:
    """The model of a file, in which no channel's weights are all but zero.

    Upstream fault: biases are stored as multiples of the input's times the kernel's
    scale, which for dead channels is so small that ai-edge-quantizer 0.10 cuts the bias
    off at 32 bits: the network loses whatever those channels give (of an ImageNet
    classifier's 70 % it left 4 %). A largest weight of a ten-thousandth of the bias
    keeps the scale large enough, and is itself lost in the 8 bits of the output. Goes
    when the quantiser chooses such scales.
    """
    tools = require('ai_edge_litert.tools.flatbuffer_utils', 'litert')
    operators = tools.BuiltinOperator
    axes = {getattr(operators, name): axis for name, axis in _CHANNEL_AXES.items()}
    model = tools.read_model(str(path))
    (graph,) = model.subgraphs

    def values(index: int) -> np.ndarray:
        tensor = graph.tensors[index]
        data = model.buffers[tensor.buffer].data
        return np.frombuffer(bytes(data), np.float32).reshape(tensor.shape)

    for operator in graph.operators:
        kind = model.operatorCodes[operator.opcodeIndex].builtinCode
        if kind not in axes or len(operator.inputs) < 3 or operator.inputs[2] < 0:
            continue
        kernel, bias = (values(index) for index in operator.inputs[1:3])
        raised = _raise_weights(kernel, bias, axes[kind])
        buffer = model.buffers[graph.tensors[operator.inputs[1]].buffer]
        buffer.data = np.frombuffer(raised.tobytes(), np.uint8)
    return bytes(tools.convert_object_to_bytearray(model))


def _raise_weights(kernel: np.ndarray, bias: np.ndarray, axis: int) -> np.ndarray:
    """A kernel whose largest weight of each channel is not too small for its bias."""
    raised = np.moveaxis(kernel, axis, 0).copy()
    rows = raised.reshape(len(bias), -1)
    largest = np.abs(rows).argmax(1)
    channels = np.arange(len(bias))
    least = _LEAST_WEIGHT * np.abs(bias)
    small = np.abs(rows[channels, largest]) < least
    rows[channels[small], largest[small]] = least[small]
    return np.ascontiguousarray(np.moveaxis(raised, 0, axis))
