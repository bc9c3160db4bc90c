"""Which layers OpenVINO computes in 8 bits."""

import openvino
import pytest


@pytest.mark.parametrize('case', ['wide', 'windows', 'classifier'])
def test_all_convolutions_are_8_bits(quantized, case) -> None:
    core = openvino.Core()
    model = core.read_model(quantized.file(case, 'openvino'))
    kernels = [
        node
        for node in model.get_ops()
        if node.get_type_name() in ('Convolution', 'GroupConvolution')
    ]
    compiled = core.compile_model(model, 'CPU', {'INFERENCE_PRECISION_HINT': 'f32'})
    # Depthwise ones have the same name there.
    types = [
        node.get_rt_info()['runtimePrecision'].astype(str)
        for node in compiled.get_runtime_model().get_ops()
        if node.get_rt_info()['layerType'].astype(str) == 'Convolution'
    ]
    assert len(types) == len(kernels)
    assert set(types) <= {'u8', 'i8'}


def test_kernels_have_a_scale_for_each_channel(quantized) -> None:
    model = openvino.Core().read_model(quantized.file('wide', 'openvino'))
    kernels = [
        node
        for node in model.get_ops()
        if node.get_type_name() == 'Constant'
        and str(node.get_element_type()) == "<Type: 'int8_t'>"
    ]
    assert kernels
    scales = [
        reader.get_node().input_value(1).get_shape()
        for kernel in kernels
        for convert in kernel.output(0).get_target_inputs()
        for reader in convert.get_node().output(0).get_target_inputs()
    ]
    assert all(max(scale) > 1 for scale in scales)


def test_decoding_stays_float(quantized) -> None:
    model = openvino.Core().read_model(quantized.file('wide', 'openvino'))
    for node in model.get_ops():
        if node.get_type_name() in ('Sigmoid', 'Exp', 'Concat'):
            sources = {
                value.get_node().get_type_name() for value in node.input_values()
            }
            assert 'FakeQuantize' not in sources
