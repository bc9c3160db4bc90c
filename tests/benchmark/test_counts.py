"""Counts are those of PyTorch's own counter."""

import copy

import pytest
import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from mmnv3.benchmark import count
from mmnv3.models import LRASPPHead, MobileNetV3


def segmenter() -> nn.Module:
    """Strides, dilation, both gates' neighbours and a 1×1 after pooling."""
    taps = ('block3.depthwise', 'C5')
    backbone = MobileNetV3('small', output_stride=16, out_taps=taps)
    return nn.Sequential(backbone, LRASPPHead(19, backbone.out_channels))


class Shared(nn.Module):
    """A layer that is run twice, a matrix product, and one that is never run."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.unused = nn.Conv2d(3, 3, 3, padding=1), nn.Conv2d(3, 5, 1)
        self.linear = nn.Linear(3, 7)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.linear(self.conv(self.conv(x).relu_()).mean((2, 3)))


@pytest.mark.parametrize('make', [segmenter, Shared])
def test_as_pytorch_counts(make) -> None:
    net = make()
    found = count(net, (65, 33))
    meta = copy.deepcopy(net).to('meta').eval()
    with FlopCounterMode(display=False) as counter:
        meta(torch.empty(1, 3, 33, 65, device='meta'))
    flops = counter.get_flop_counts()
    assert found.madds == counter.get_total_flops() // 2 > 0
    for name, _ in net.named_modules():
        if name:
            whole = flops.get(f'{type(net).__name__}.{name}', {})
            assert found.layer_madds[name] == sum(whole.values()) // 2, name


def test_counting_leaves_the_network_alone() -> None:
    net = MobileNetV3('small').train()
    net.block1.eval()
    before = {name: value.clone() for name, value in net.state_dict().items()}
    once, twice = count(net, (64, 64)), count(net, (64, 64))
    assert once == twice
    assert net.training and not net.block1.training and net.block2.training
    assert net.stem.conv.weight.device.type == 'cpu'
    assert all(
        (net.state_dict()[name] == value).all() for name, value in before.items()
    )
    assert not any(part._forward_hooks for part in net.modules())
