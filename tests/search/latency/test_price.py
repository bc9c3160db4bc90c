"""A config with another network in it has the layers that a tracer finds in it."""

import random
from types import SimpleNamespace

import pytest
import torch
from mmengine.config import Config
from torch import Tensor, nn

from mmnv3.arch import ZOO, BlockSpec, ConvSpec, NetSpec
from mmnv3.errors import UserError
from mmnv3.models import MobileNetV3
from mmnv3.search.configs import build, config_network, with_spec
from mmnv3.search.latency.config_models import random_spec
from mmnv3.search.latency.price import ConfigPrice
from mmnv3.search.latency.tracing import trace
from mmnv3.size import Size
from tests.conftest import ROOT

SPEC = NetSpec(
    'three',
    ConvSpec(16, 3, 2),
    (
        BlockSpec(3, 64, 24, 2, 'relu'),
        BlockSpec(5, 72, 24, 1, 'hswish'),
        BlockSpec(3, 72, 40, 2, 'relu'),
    ),
)
# Microseconds of a layer are its multiply-adds.
MADDS = SimpleNamespace(
    latency_us=lambda layers, overhead: sum(layer.madds for layer in layers)
)


class Builder:
    """Builds models with a network, and counts them."""

    def __init__(self, config: Config) -> None:
        self.config = config
        self.count = 0

    def __call__(self, spec: NetSpec) -> nn.Module:
        self.count += 1
        return build(with_spec(self.config, spec))


def read(name: str, **backbone: object) -> Config:
    """A config without weights to fetch."""
    config = Config.fromfile(ROOT / 'configs' / f'{name}.py')
    config.model.backbone.init_cfg = None
    config.model.backbone.update(backbone)
    return config


@pytest.mark.parametrize(
    ('name', 'size', 'backbone'),
    [
        # C4 is inside a block.
        ('ssdlite_mnv3_small_demo', (320, 320), {}),
        # C4 is a block's output, and no block has an expansion.
        ('ssdlite_mnv1_coco', (320, 320), {}),
        # Output stride 16, a tap before squeeze-and-excite, and odd maps, where
        # symmetric padding is TensorFlow's.
        ('lraspp_mnv3_small_demo', (193, 99), {}),
        ('lraspp_mnv3_large_cityscapes_tv', (128, 64), {}),
        ('raspp_mnv3_large_full_cityscapes', (65, 65), dict(output_stride=8)),
        # TensorFlow's gates, also in the head.
        ('lraspp_mnv3_small_cityscapes_google', (129, 65), {}),
        ('mnv3_small_imagenet', (96, 96), {}),
    ],
)
def test_layers_are_those_of_the_built_model(
    name: str, size: tuple[int, int], backbone: dict
) -> None:
    config = read(name, **backbone)
    builder, spec = Builder(config), config_network(config).spec
    size = Size(*size)
    price = ConfigPrice(MADDS, size, spec, builder, config.model.backbone)
    chance, built = random.Random(3), builder.count
    for candidate in (spec, random_spec(spec, chance)):
        found = price.trace(candidate)
        assert found == trace(build(with_spec(config, candidate)), size)
        assert price(candidate) == sum(layer.madds for layer in found.layers)
    assert builder.count == built <= 4


class Thirds(nn.Module):
    """A head that has a third of its input's channels, rounded."""

    def __init__(self, spec: NetSpec) -> None:
        super().__init__()
        self.backbone = MobileNetV3(spec, out_indices=(1, 3))
        self.conv = nn.Conv2d(self.backbone.out_channels[1], spec.out_channels // 3, 1)

    def forward(self, x: Tensor) -> list[Tensor]:
        low, high = self.backbone(x)
        return [low, self.conv(high)]


class Fused(Thirds):
    """A head whose activation runs as one with the backbone's last layer."""

    def forward(self, x: Tensor) -> list[Tensor]:
        return [map_.relu() for map_ in self.backbone(x)]


@pytest.mark.parametrize('kind', [Thirds, Fused])
def test_what_no_rule_tells_is_traced(kind: type[Thirds]) -> None:
    size = Size(64, 32)
    price = ConfigPrice(MADDS, size, SPEC, kind, dict(out_indices=(1, 3)))
    chance = random.Random(0)
    for _ in range(3):
        spec = random_spec(SPEC, chance)
        assert price.trace(spec) == trace(kind(spec), size)


def test_a_network_of_other_strides_is_traced() -> None:
    config = read('mnv3_small_imagenet')
    builder, size = Builder(config), Size(64, 64)
    price = ConfigPrice(
        MADDS, size, config_network(config).spec, builder, config.model.backbone
    )
    spec = ZOO['mnasnet_small']
    coarse = NetSpec('coarse', spec.stem, spec.blocks[:3], spec.last)
    assert price.trace(coarse) == trace(build(with_spec(config, coarse)), size)


def test_what_cannot_be_traced_is_said_in_a_line() -> None:
    class Picky(Thirds):
        def forward(self, x: Tensor) -> Tensor:
            return x[torch.nonzero(x > x.mean().item())]

    with pytest.raises(UserError, match='cannot be traced') as caught:
        ConfigPrice(MADDS, Size(32, 32), SPEC, Picky, dict(out_indices=(1, 3)))
    assert '\n' not in str(caught.value)
