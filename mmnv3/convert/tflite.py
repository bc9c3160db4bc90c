"""The weights of a LiteRT (TensorFlow Lite) file, in the order of computation."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from mmnv3.errors import UserError

# How a kernel lies in the file, and as PyTorch wants it.
_AXES = {'CONV_2D': (0, 3, 1, 2), 'DEPTHWISE_CONV_2D': (3, 0, 1, 2)}
# What ends a detector, and its first inputs.
_DETECTOR = b'TFLite_Detection_PostProcess'
_HEADS = ('reg_convs', 'cls_convs')
# Of SSDLite: maps that are predicted from, and layers of each of the extra ones.
_LEVELS, _EXTRA_LEVELS, _PLACES = 6, 4, 3


def read_tflite(path: str | Path) -> dict[str, Tensor]:
    """Reads the convolutions of a classifier or an SSDLite, 8-bit ones dequantised.

    No layer has a name. Those of a backbone and of an SSDLite's extra levels are a
    chain, each made from the one before, so that their order tells them; an SSDLite's
    heads are found from its end.

    Args:
        path: The flatbuffer file.

    Returns:
        Of a classifier ``'0.weight'``, ``'0.bias'``, ``'1.weight'`` and so on; of an
        SSDLite ``'backbone.0.weight'``, ``'extra.LEVEL.PLACE.weight'`` and
        ``'cls_convs.LEVEL.PLACE.weight'``, as ``'reg_convs'``, depthwise layers first.
        Float32, kernels as (out, in / groups, height, width). Normalisation is folded
        into them.

    Raises:
        UserError: When the reader is not installed, the file is not LiteRT's, or it
            holds another detector.
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
    operators = [graph.Operators(at) for at in range(graph.OperatorsLength())]
    convs: dict[int, tuple[int, ...]] = {}
    end = None
    for at, operator in enumerate(operators):
        code = model.OperatorCodes(operator.OpcodeIndex())
        if code.CustomCode() == _DETECTOR:
            end = operator
        # Files older than the wider field have the code in the narrow one.
        axes = codes.get(max(code.BuiltinCode(), code.DeprecatedBuiltinCode()))
        if axes is not None:
            convs[at] = axes
    if end is None:
        names = {at: str(number) for number, at in enumerate(convs)}
    elif not (names := _name_ssdlite(operators, list(convs), end)):
        raise UserError(
            f'{path} is a detector, and not an SSDLite with heads on {_LEVELS} maps; '
            'give the frozen graph (.pb) that is published beside it'
        )
    found: dict[str, Tensor] = {}
    for at, name in names.items():
        _, kernel, bias = (
            graph.Tensors(int(tensor)) for tensor in operators[at].InputsAsNumpy()
        )
        values = _values(model, kernel).permute(convs[at])
        found[f'{name}.weight'] = values.contiguous()
        found[f'{name}.bias'] = _values(model, bias)
    return found


def _name_ssdlite(operators: list[Any], convs: list[int], end: Any) -> dict[int, str]:
    """Names the convolutions of an SSDLite by what is made of them.

    Args:
        operators: All of the graph, in the order of computation.
        convs: Indices of its convolutions.
        end: What makes detections of boxes and scores.

    Returns:
        Names by indices; empty where it is another detector.
    """
    made_by = {
        int(tensor): at
        for at, operator in enumerate(operators)
        if operator.OutputsLength()
        for tensor in operator.OutputsAsNumpy()
    }

    def behind(tensor: int, wanted: Any) -> int | None:
        """The nearest operator that a tensor is made from, along first inputs."""
        at = made_by.get(tensor)
        while at is not None and not wanted(at):
            before = made_by.get(int(operators[at].Inputs(0)))
            # A damaged file may go round in circles.
            at = before if before is not None and before < at else None
        return at

    names: dict[int, str] = {}
    for place, head in enumerate(_HEADS):
        joined = behind(
            int(end.Inputs(place)), lambda at: operators[at].InputsLength() == _LEVELS
        )
        if joined is None:
            return {}
        for level in range(_LEVELS):
            predictor = behind(int(operators[joined].Inputs(level)), convs.__contains__)
            if predictor is None:
                return {}
            depthwise = behind(int(operators[predictor].Inputs(0)), convs.__contains__)
            if depthwise is None:
                return {}
            names[depthwise] = f'{head}.{level}.0'
            names[predictor] = f'{head}.{level}.1'
    chain = [at for at in convs if at not in names]
    extras = _EXTRA_LEVELS * _PLACES
    if len(names) != len(_HEADS) * _LEVELS * 2 or len(chain) <= extras:
        return {}
    for number, at in enumerate(chain[:-extras]):
        names[at] = f'backbone.{number}'
    for number, at in enumerate(chain[-extras:]):
        names[at] = f'extra.{number // _PLACES}.{number % _PLACES}'
    return names


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
