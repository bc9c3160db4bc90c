"""Layers against straightforward references."""

import numpy as np
import pytest
import torch
from torch import nn

from mmnv3.arch import ZOO, Layer, plan_blocks
from mmnv3.errors import Remark, UserError
from mmnv3.models import MobileNetV3
from mmnv3.models.layers import (
    GATES,
    Bottleneck,
    Conv2dSame,
    SmallBatchNorm2d,
    SqueezeExcite,
    build_layer,
    same_conv_cfg,
    small_batch_norm_cfg,
)


def same_convolution(image: np.ndarray, kernel: np.ndarray, stride: int) -> np.ndarray:
    """TensorFlow's SAME, written out: ⌈n / s⌉ cells, the spare row at the bottom."""
    size, taps = image.shape[0], kernel.shape[0]
    cells = -(-size // stride)
    before = max((cells - 1) * stride + taps - size, 0) // 2
    out = np.zeros((cells, cells))
    for i in range(cells):
        for j in range(cells):
            for a in range(taps):
                for b in range(taps):
                    y, x = i * stride + a - before, j * stride + b - before
                    if 0 <= y < size and 0 <= x < size:
                        out[i, j] += image[y, x] * kernel[a, b]
    return out


@pytest.mark.parametrize('grad', [True, False])
@pytest.mark.parametrize('stride', [1, 2])
@pytest.mark.parametrize('kernel', [1, 3, 5])
@pytest.mark.parametrize('size', [1, 2, 5, 8, 9, 12])
def test_same_padding(size: int, kernel: int, stride: int, grad: bool) -> None:
    torch.manual_seed(0)
    layer = Conv2dSame(1, 1, kernel, stride=stride, bias=False)
    image = torch.randn(1, 1, size, size)
    with torch.set_grad_enabled(grad):
        out = layer(image)
    expected = same_convolution(
        image[0, 0].numpy(), layer.weight.detach()[0, 0].numpy(), stride
    )
    np.testing.assert_allclose(out.detach()[0, 0].numpy(), expected, atol=1e-5)


def test_same_padding_of_an_odd_by_even_image() -> None:
    layer = Conv2dSame(2, 4, 3, stride=2, groups=2)
    image = torch.randn(1, 2, 7, 10)
    with torch.no_grad():
        inference = layer(image)
    assert inference.shape == (1, 4, 4, 5)
    torch.testing.assert_close(layer(image), inference)


def test_same_padding_of_a_dilated_convolution() -> None:
    layer = Conv2dSame(1, 1, 3, stride=2, dilation=2, bias=False)
    image = torch.randn(1, 1, 8, 8)
    wide = torch.zeros(5, 5)
    wide[::2, ::2] = layer.weight.detach()[0, 0]
    expected = same_convolution(image[0, 0].numpy(), wide.numpy(), 2)
    with torch.no_grad():
        np.testing.assert_allclose(layer(image)[0, 0].numpy(), expected, atol=1e-5)


def test_padding_names() -> None:
    assert same_conv_cfg('symmetric') is None
    assert same_conv_cfg('same', stride=1) is None
    with pytest.raises(UserError, match='same, symmetric'):
        same_conv_cfg('valid')


def test_squeeze_excite_by_hand() -> None:
    layer = SqueezeExcite(2, 1)
    with torch.no_grad():
        layer.reduce.weight[:] = torch.tensor([1.0, 2.0]).view(1, 2, 1, 1)
        layer.reduce.bias[:] = -1.0
        layer.expand.weight[:] = torch.tensor([1.0, -1.0]).view(2, 1, 1, 1)
        layer.expand.bias[:] = 0.0
    image = torch.tensor([[[[0.0, 2.0]], [[1.0, 3.0]]]])
    # Averages 1 and 2; ReLU(1 + 4 - 1) = 4; gates (4 + 3) / 6 > 1 and (-4 + 3) / 6 < 0.
    gated = layer(image)
    torch.testing.assert_close(gated, image * torch.tensor([1.0, 0.0]).view(1, 2, 1, 1))


def test_block_parts_come_in_the_paper_order() -> None:
    plan = list(plan_blocks(ZOO['large']))[4]
    block = Bottleneck(plan, dict(type='BN'), 'symmetric').eval()
    assert [name for name, _ in block.named_children()] == [
        'expand',
        'depthwise',
        'se',
        'project',
    ]
    x = torch.randn(1, 40, 6, 6)
    taps = block.taps(x)
    assert block.project.act_cfg is None
    torch.testing.assert_close(
        taps['out'], x + block.project(block.se(taps['depthwise']))
    )
    assert (taps['expand'] >= 0).all()
    assert isinstance(block.se.gate, nn.Hardsigmoid)


@pytest.mark.parametrize('stride', [1, 2])
def test_folding_normalisation_changes_nothing(stride: int) -> None:
    torch.manual_seed(0)
    layer = build_layer(
        Layer('conv', 8, 8, kernel=5, stride=stride, act='hswish'), dict(type='BN')
    )
    layer.train()(3 + 2 * torch.randn(4, 8, 16, 15))  # Gives it statistics.
    torch.nn.init.normal_(layer.norm.weight)
    torch.nn.init.normal_(layer.norm.bias)
    layer.eval()
    x = torch.randn(2, 8, 17, 16)
    for _ in range(2):
        with torch.no_grad():
            folded = layer(x)
        torch.testing.assert_close(folded, layer(x).detach(), atol=1e-5, rtol=1e-5)
        # Nothing of it is kept, so other weights give another result.
        layer.conv.weight.data *= 2
        layer.norm.running_mean.data += 1


def test_one_value_per_channel_is_normalised_by_the_running_statistics() -> None:
    torch.manual_seed(0)
    ours, plain = SmallBatchNorm2d(2, eps=0.1), nn.BatchNorm2d(2, eps=0.1)
    with torch.no_grad():
        ours.weight.copy_(torch.tensor([1.0, 3.0]))
        ours.bias.copy_(torch.tensor([0.0, 1.0]))
        ours.running_mean.copy_(torch.tensor([2.0, 0.0]))
        ours.running_var.copy_(torch.tensor([3.9, 0.8]) + 0.0)
    plain.load_state_dict(ours.state_dict())
    x = torch.tensor([4.0, 3.0]).view(1, 2, 1, 1)
    with pytest.warns(Remark):
        y = ours(x)
    # (4 - 2) / 2, and 3 * 3 / sqrt(0.9) + 1
    expected = torch.tensor([1.0, 9 / 0.9**0.5 + 1])
    torch.testing.assert_close(y.detach().flatten(), expected)
    for name, value in plain.state_dict().items():
        assert torch.equal(ours.state_dict()[name], value), name
    # All other batches are PyTorch's.
    for shape in ((2, 2, 1, 1), (1, 2, 3, 1)):
        x = torch.randn(shape)
        assert torch.equal(ours(x), plain(x))
    for name, value in plain.state_dict().items():
        assert torch.equal(ours.state_dict()[name], value), name
    assert small_batch_norm_cfg(dict(type='GN', num_groups=2))['type'] == 'GN'


def test_tensorflows_gate_multiplies_by_its_own_sixth() -> None:
    """relu6(x + 3) · 0.16667 by hand, and the paper's sixth beside it."""
    x = torch.tensor([-4.0, -3, 0, 1, 3, 50])
    found = GATES['hsigmoid_tf']()(x)
    expected = torch.tensor([0, 0, 0.50001, 0.66668, 1.00002, 1.00002])
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-7)
    assert (found[2:] > GATES['hsigmoid']()(x)[2:]).all()


def test_a_gate_is_a_property_of_the_network() -> None:
    block = MobileNetV3('small', gate='hsigmoid_tf', out_taps=('block1',)).block1
    assert isinstance(block.se.gate, GATES['hsigmoid_tf'])
    assert isinstance(MobileNetV3('small').block1.se.gate, GATES['hsigmoid'])
    with pytest.raises(UserError, match="gate='tanh' is unknown; possible: hsigmoid"):
        MobileNetV3('small', gate='tanh')
