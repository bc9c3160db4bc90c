"""Which nodes ONNX Runtime computes in 8 bits."""

import onnx
import onnxruntime
import pytest


def convolutions(path, tmp_path) -> list[tuple[str, bool]]:
    """Kinds, and whether depthwise, of what ONNX Runtime makes of a file."""
    options = onnxruntime.SessionOptions()
    options.optimized_model_filepath = str(tmp_path / 'optimized.onnx')
    options.log_severity_level = 3
    onnxruntime.InferenceSession(path, options, providers=['CPUExecutionProvider'])
    graph = onnx.load(options.optimized_model_filepath).graph
    return [
        (node.op_type, any(a.name == 'group' and a.i > 1 for a in node.attribute))
        for node in graph.node
        if node.op_type.endswith('Conv')
    ]


@pytest.mark.parametrize('case', ['wide', 'windows', 'classifier'])
def test_most_convolutions_are_8_bits(quantized, tmp_path, case) -> None:
    found = convolutions(quantized.file(case, 'onnx'), tmp_path)
    eight = [depthwise for kind, depthwise in found if kind == 'QLinearConv']
    assert len(eight) > 0.6 * len(found)
    assert any(eight)


def test_fine_maps_and_what_comes_last_stay_float(exported, quantized) -> None:
    model = onnx.load(quantized.file('wide', 'onnx'))
    converted = {
        output: node.op_type for node in model.graph.node for output in node.output
    }
    readers = {name: node for node in model.graph.node for name in node.input}
    kernels = [node for node in model.graph.node if node.op_type == 'Conv']
    eight = [converted.get(node.input[0]) == 'DequantizeLinear' for node in kernels]
    # The first two are of 97 and 49 columns; later is no way back.
    assert not any(eight[:2])
    assert all(eight[eight.index(True) + 4 :])
    for node in model.graph.node:
        if node.op_type in ('Sigmoid', 'Exp', 'Concat'):
            after = readers.get(node.output[0])
            assert after is None or after.op_type != 'QuantizeLinear'


def test_kernels_have_a_scale_for_each_channel(quantized) -> None:
    graph = onnx.load(quantized.file('wide', 'onnx')).graph
    arrays = {tensor.name: tensor for tensor in graph.initializer}
    kernels = [
        node
        for node in graph.node
        if node.op_type == 'DequantizeLinear'
        and node.input[0] in arrays
        and len(arrays[node.input[0]].dims) == 4
    ]
    assert kernels
    for node in kernels:
        kernel, scale = (arrays[name] for name in node.input[:2])
        assert kernel.data_type == onnx.TensorProto.INT8
        assert list(scale.dims) == [kernel.dims[0]]
