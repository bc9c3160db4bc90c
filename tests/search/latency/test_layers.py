"""Layers of specifications and of built networks."""

import pytest

from mmnv3.arch import ZOO, BlockSpec, ConvSpec, NetSpec, SqueezeExcite
from mmnv3.benchmark.counts import count
from mmnv3.errors import UserError
from mmnv3.models import MobileNetV3
from mmnv3.search.latency.layers import LayerShape, layers_of_spec
from mmnv3.search.latency.tracing import layers_of

SPEC = NetSpec(
    'two',
    ConvSpec(16, 3, 2),
    (
        BlockSpec(3, 64, 24, 2, 'relu'),
        BlockSpec(5, 72, 24, 1, 'hswish', SqueezeExcite()),
    ),
)
EXPECTED = [
    LayerShape('conv', 3, 16, 32, 48, kernel=3, stride=2, act='hswish'),
    LayerShape('conv', 16, 64, 16, 24, act='relu'),
    LayerShape('depthwise', 64, 64, 16, 24, kernel=3, stride=2, act='relu'),
    LayerShape('conv', 64, 24, 8, 12),
    LayerShape('conv', 24, 72, 8, 12, act='hswish'),
    LayerShape('depthwise', 72, 72, 8, 12, kernel=5, act='hswish'),
    LayerShape('squeeze_excite', 72, 72, 8, 12, act='hsigmoid', hidden=24),
    LayerShape('conv', 72, 24, 8, 12, residual=True),
]


def test_hand_listed_layers() -> None:
    assert layers_of_spec(SPEC, (48, 32)) == EXPECTED
    *layers, rest = layers_of(MobileNetV3(SPEC), (48, 32))
    assert layers == EXPECTED
    assert (rest.kind, rest.height, rest.width) == ('rest', 32, 48)


@pytest.mark.parametrize('arch', ['small', 'v1', 'edgetpu', 'mnasnet_small'])
@pytest.mark.parametrize('padding', ['same', 'symmetric'])
def test_built_as_specified(arch: str, padding: str) -> None:
    taps = ('last',) if ZOO[arch].last else None
    module = MobileNetV3(arch, output_stride=16, padding=padding, out_taps=taps)
    layers = layers_of(module, (96, 64))[:-1]
    assert layers == layers_of_spec(ZOO[arch], (96, 64), 16, padding=padding)
    assert sum(layer.madds for layer in layers) == count(module, (64, 96)).madds


def test_names_and_sizes() -> None:
    assert str(EXPECTED[2]) == 'depthwise 64 3x3 stride 2 relu of 24x16'
    with pytest.raises(UserError, match='size 0x32'):
        layers_of_spec(SPEC, (0, 32))
