"""The weights of a LiteRT (TensorFlow Lite) file, in the order of computation."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from mmnv3.errors import UserError

# How a kernel lies in the file, and as PyTorch wants it.
_AXES = {'CONV_2D': (0, 3, 1, 2), 'DEPTHWISE_CONV_2D': (3, 0, 1, 2)}


def read_tflite(path: str | Path) -> dict[str, Tensor]:
    """Reads the convolutions of a classifier, 8-bit ones dequantised.

    Args:
        path: The flatbuffer file.

    Returns:
        ``'0.weight'``, ``'0.bias'``, ``'1.weight'`` and so on, float32, kernels as
        (out, in / groups, height, width). Normalisation is folded into them.

    Raises:
        UserError: When the reader is not installed, the file is not LiteRT's, or it
            is a detector's, whose order of heads nothing tells.
    """
    try:
        import tflite
    except ImportError:
        raise UserError(
            f'{path}: reading LiteRT files needs tflite; pip install tflite flatbuffers'
        ) from None
    content = Path(path).read_bytes()
    if content[4:8] != b'TFL3':
        raise UserError(f'{path} is not a LiteRT file')
    model = tflite.Model.GetRootAs(content, 0)
    graph = model.Subgraphs(0)
    codes = {
        getattr(tflite.BuiltinOperator, name): axes for name, axes in _AXES.items()
    }
    found: dict[str, Tensor] = {}
    for index in range(graph.OperatorsLength()):
        operator = graph.Operators(index)
        code = model.OperatorCodes(operator.OpcodeIndex())
        if code.CustomCode() == b'TFLite_Detection_PostProcess':
            raise UserError(
                f'{path} is a detector, of which LiteRT files keep no names; give the '
                'frozen graph (.pb) that is published beside it'
            )
        # Files older than the wider field have the code in the narrow one.
        axes = codes.get(max(code.BuiltinCode(), code.DeprecatedBuiltinCode()))
        if axes is None:
            continue
        number = len(found) // 2
        _, kernel, bias = (
            graph.Tensors(int(tensor)) for tensor in operator.InputsAsNumpy()
        )
        found[f'{number}.weight'] = _values(model, kernel).permute(axes).contiguous()
        found[f'{number}.bias'] = _values(model, bias)
    return found


def _values(model: object, tensor: object) -> Tensor:
    """The numbers of a constant tensor, dequantised."""
    import tflite

    types = {
        tflite.TensorType.FLOAT32: np.float32,
        tflite.TensorType.FLOAT16: np.float16,
        tflite.TensorType.UINT8: np.uint8,
        tflite.TensorType.INT8: np.int8,
        tflite.TensorType.INT32: np.int32,
    }
    data = model.Buffers(tensor.Buffer()).DataAsNumpy()
    values = np.frombuffer(data.tobytes(), types[tensor.Type()])
    values = values.reshape(tensor.ShapeAsNumpy()).astype(np.float64)
    quantisation = tensor.Quantization()
    if quantisation is not None and quantisation.ScaleLength():
        shape = [1] * values.ndim
        # One scale for all, or one per channel along an axis.
        shape[quantisation.QuantizedDimension()] = -1
        zero = quantisation.ZeroPointAsNumpy().reshape(shape)
        values = (values - zero) * quantisation.ScaleAsNumpy().reshape(shape)
    return torch.from_numpy(values.astype(np.float32))
