"""Which operations LiteRT computes in 8 bits."""

from collections import Counter

import numpy as np
import pytest

from mmnv3.deploy.quantization.litert import _raise_weights

tflite = pytest.importorskip('tflite', reason='tflite is not installed')

NAMES = {
    value: name
    for name, value in vars(tflite.BuiltinOperator).items()
    if not name.startswith('_')
}


def operations(path) -> Counter:
    """How many operations of each kind have kernels or inputs of which type."""
    model = tflite.Model.GetRootAs(path.read_bytes(), 0)
    graph = model.Subgraphs(0)
    found = Counter()
    for index in range(graph.OperatorsLength()):
        operator = graph.Operators(index)
        name = NAMES[model.OperatorCodes(operator.OpcodeIndex()).BuiltinCode()]
        types = tuple(
            graph.Tensors(i).Type() for i in operator.InputsAsNumpy()[:2] if i >= 0
        )
        found[name, types] += 1
    return found


@pytest.mark.parametrize('case', ['wide', 'windows', 'classifier'])
def test_all_kernels_are_8_bits_and_hard_swish_is_not(quantized, case) -> None:
    eight, single = tflite.TensorType.INT8, tflite.TensorType.FLOAT32
    found = operations(quantized.file(case, 'litert'))
    for kind in ('CONV_2D', 'DEPTHWISE_CONV_2D'):
        assert {types for name, types in found if name == kind} == {(eight, eight)}
    # Their inputs are quantised on the way.
    whole = {types for name, types in found if name == 'FULLY_CONNECTED'}
    assert whole == ({(single, eight)} if case == 'classifier' else set())
    for kind in ('HARD_SWISH', 'EXP'):
        assert {types[0] for name, types in found if name == kind} <= {single}


def test_dead_channels_keep_their_bias() -> None:
    kernel = np.ones((3, 1, 1, 2), np.float32)
    kernel[1] = 0
    kernel[2] = [0, -1e-9]
    bias = np.float32([4, -3, 2])
    expected = kernel.copy()
    expected[1, 0, 0, 0] = 3e-4
    expected[2, 0, 0, 1] = 2e-4
    np.testing.assert_allclose(_raise_weights(kernel, bias, 0), expected)
    turned = _raise_weights(kernel.transpose(1, 2, 3, 0), bias, 3)
    np.testing.assert_allclose(turned, expected.transpose(1, 2, 3, 0))
