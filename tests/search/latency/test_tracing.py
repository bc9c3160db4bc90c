"""Layers of specifications and of built networks."""

from dataclasses import replace

import pytest

from mmnv3.arch import ZOO, BlockSpec, ConvSpec, NetSpec, SqueezeExcite
from mmnv3.arch.layers import Layer, Network, list_layers
from mmnv3.benchmark.counts import count
from mmnv3.models import MobileNetV3
from mmnv3.search.latency.tracing import trace
from mmnv3.size import Size

SPEC = NetSpec(
    'two',
    ConvSpec(16, 3, 2),
    (
        BlockSpec(3, 64, 24, 2, 'relu'),
        BlockSpec(5, 72, 24, 1, 'hswish', SqueezeExcite()),
    ),
)
EXPECTED = [
    Layer('conv', 3, 16, 32, 48, kernel=3, stride=2, act='hswish'),
    Layer('conv', 16, 64, 16, 24, act='relu'),
    Layer('depthwise', 64, 64, 16, 24, kernel=3, stride=2, act='relu'),
    Layer('conv', 64, 24, 8, 12),
    Layer('conv', 24, 72, 8, 12, act='hswish'),
    Layer('depthwise', 72, 72, 8, 12, kernel=5, act='hswish'),
    Layer('squeeze_excite', 72, 72, 8, 12, act='hsigmoid', hidden=24),
    Layer('conv', 72, 24, 8, 12, residual=True),
]


def test_hand_listed_layers() -> None:
    assert list_layers(Network(SPEC), Size(48, 32)) == EXPECTED
    layers, overhead = trace(MobileNetV3(SPEC), Size(48, 32))
    assert layers == EXPECTED
    assert overhead.size == Size(48, 32)


def test_gates_are_told_apart() -> None:
    for gate in ('sigmoid', 'hsigmoid', 'hsigmoid_tf'):
        spec = replace(
            SPEC,
            blocks=tuple(
                replace(block, se=block.se and SqueezeExcite(gate=gate))
                for block in SPEC.blocks
            ),
        )
        found = trace(MobileNetV3(spec), Size(48, 32))
        assert found.layers == list_layers(Network(spec), Size(48, 32))
        assert found.layers[6].act == gate
        # Nothing of the gate counts as something else too.
        assert found.overhead == trace(MobileNetV3(SPEC), Size(48, 32)).overhead


@pytest.mark.parametrize('arch', ['small', 'v1', 'edgetpu', 'mnasnet_small'])
@pytest.mark.parametrize('padding', ['same', 'symmetric'])
def test_built_as_specified(arch: str, padding: str) -> None:
    taps = ('last',) if ZOO[arch].last else None
    module = MobileNetV3(arch, output_stride=16, padding=padding, out_taps=taps)
    layers = trace(module, Size(96, 64)).layers
    network = Network(ZOO[arch], 16, padding=padding)
    assert layers == list_layers(network, Size(96, 64))
    assert sum(layer.madds for layer in layers) == count(module, (96, 64)).madds


def test_names_and_sizes() -> None:
    assert str(EXPECTED[2]) == 'depthwise 64 3x3 stride 2 relu of 24x16'
