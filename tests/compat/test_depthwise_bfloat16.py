"""Gradients of depthwise convolutions against PyTorch's own."""

import copy
import itertools
import pickle

import pytest
import torch
from torch import Tensor, nn
from torch.autograd import gradcheck, gradgradcheck
from torch.autograd.forward_ad import dual_level, make_dual, unpack_dual
from torch.func import functional_call, grad, vmap
from torch.nn import functional as F
from torch.utils.checkpoint import checkpoint

from mmnv3.arch.layers import same_padding
from mmnv3.compat.depthwise_bfloat16 import _DepthwiseConv2d, mend_depthwise
from mmnv3.models.layers import Conv2dSame

CHANNELS = 3
CASES = [
    case
    for case in itertools.product((3, 5, 7), (1, 2), (1, 2), ((8, 8), (9, 12)), (0, 1))
    # The rules of padding differ at stride 2 alone.
    if case[1] == 2 or not case[4]
]


def settings(kernel: int, stride: int, dilation: int, size: tuple, same: bool) -> tuple:
    """Stride, padding and dilation as the layer takes them."""
    reach = dilation * (kernel - 1) // 2
    padding = ((reach, reach),) * 2
    if same:
        missing = [same_padding(side, kernel, stride, dilation) for side in size]
        padding = tuple((total // 2, total - total // 2) for total in missing)
    return (stride,) * 2, padding, (dilation,) * 2


def native(x: Tensor, weight: Tensor, bias: Tensor | None, *given: tuple) -> Tensor:
    stride, (rows, columns), dilation = given
    x = F.pad(x, (*columns, *rows))
    return F.conv2d(x, weight, bias, stride, 0, dilation, len(weight))


def inputs(kernel: int, size: tuple, dtype: torch.dtype) -> list[Tensor]:
    torch.manual_seed(0)
    shapes = (2, CHANNELS, *size), (CHANNELS, 1, kernel, kernel), (CHANNELS,)
    x, *others = (torch.randn(shape, dtype=dtype) for shape in shapes)
    x = x.contiguous(memory_format=torch.channels_last)
    return [tensor.requires_grad_() for tensor in (x, *others)]


@pytest.mark.parametrize('case', CASES)
def test_the_gradients_are_the_native_ones(case: tuple) -> None:
    for dtype, tolerance in ((torch.float64, 1e-12), (torch.float32, 2e-5)):
        tensors = inputs(case[0], case[3], dtype)
        given = settings(*case)
        expected = native(*tensors, *given)
        found = _DepthwiseConv2d.apply(*tensors, *given)
        torch.testing.assert_close(found, expected, atol=tolerance, rtol=tolerance)
        wanted = torch.randn_like(expected)
        for ours, theirs in zip(
            torch.autograd.grad(found, tensors, wanted),
            torch.autograd.grad(expected, tensors, wanted),
        ):
            assert ours.shape == theirs.shape and ours.dtype == dtype
            torch.testing.assert_close(ours, theirs, atol=tolerance, rtol=tolerance)


@pytest.mark.parametrize('case', [(5, 2, 1, (5, 6), True), (3, 2, 2, (5, 4), False)])
def test_the_gradients_have_gradients(case: tuple) -> None:
    tensors = inputs(case[0], case[3], torch.float64)

    def convolve(*tensors: Tensor) -> Tensor:
        return _DepthwiseConv2d.apply(*tensors, *settings(*case))

    assert gradcheck(convolve, tensors, check_forward_ad=True, fast_mode=True)
    assert gradgradcheck(convolve, tensors, fast_mode=True)


def layers(kernel: int, stride: int) -> list[nn.Conv2d]:
    torch.manual_seed(0)
    symmetric = nn.Conv2d(6, 6, kernel, stride, kernel // 2, groups=6)
    same = Conv2dSame(6, 6, kernel, stride, groups=6)
    same.load_state_dict(symmetric.state_dict())
    return [symmetric, same]


def gradients(layer: nn.Module, x: Tensor) -> tuple[str, list[Tensor]]:
    """The operation that a layer is computed by, and all gradients."""
    x = x.clone().requires_grad_()
    out = layer(x)
    tensors = [x, *layer.parameters()]
    return out.grad_fn.name(), list(torch.autograd.grad(out.float().sum(), tensors))


@pytest.mark.parametrize(
    ('kernel', 'stride', 'mended'),
    [(3, 1, False), (3, 2, True), (5, 1, True), (5, 2, True)],
)
def test_under_autocast_slow_gradients_are_mended(
    kernel: int, stride: int, mended: bool
) -> None:
    x = torch.rand(2, 6, 9, 10)
    for layer in layers(kernel, stride):
        _, expected = gradients(layer, x)
        mend_depthwise(layer)
        with torch.autocast('cpu', torch.bfloat16):
            name, found = gradients(layer, x)
            assert layer(x).dtype == torch.bfloat16
        assert name.startswith('_DepthwiseConv2d') == mended
        for ours, theirs in zip(found, expected):
            assert ours.dtype == torch.float32
            # bfloat16 has 8 bits; sums over 180 cells of one sign.
            torch.testing.assert_close(ours, theirs, rtol=0.02, atol=0.05)


@pytest.mark.parametrize('kernel', [3, 5])
def test_float32_is_bit_equal(kernel: int) -> None:
    x = torch.rand(2, 6, 9, 10)
    layer, same = layers(kernel, 2)
    expected = gradients(layer, x)
    mend_depthwise(layer)
    found = gradients(layer, x)
    assert found[0] == expected[0] == 'ConvolutionBackward0'
    assert all(map(torch.equal, found[1], expected[1]))
    with torch.autocast('cpu', torch.bfloat16), torch.no_grad():
        assert layer(x).grad_fn is None
    pads = [same_padding(side, kernel, 2) for side in x.shape[2:]]
    padded = F.pad(
        x, [side for p in reversed(pads) for side in (p // 2, p - p // 2)]
    ).requires_grad_()
    out = F.conv2d(padded, same.weight, same.bias, 2, 0, 1, 6)
    expected_weight = torch.autograd.grad(out.sum(), same.weight)[0]
    assert torch.equal(gradients(same, x)[1][1], expected_weight)


def test_the_module_stays_what_it_is() -> None:
    model = nn.Sequential(
        nn.Conv2d(4, 4, 5, padding=2, groups=4), nn.Conv2d(4, 8, 3), nn.ReLU()
    )
    keys, kinds = list(model.state_dict()), [type(part) for part in model]
    mend_depthwise(model)
    mend_depthwise(model)
    assert list(model.state_dict()) == keys
    assert [type(part) for part in model] == kinds
    assert '_conv_forward' not in vars(model[1])
    x = torch.rand(1, 4, 8, 8)
    for other in (copy.deepcopy(model[0]), pickle.loads(pickle.dumps(model[0]))):
        # What it computes by is the copy's own weight.
        nn.init.zeros_(other.weight)
        nn.init.zeros_(other.bias)
        assert not other(x).any() and model[0](x).any()
    calls = []
    model[0].register_forward_hook(lambda *_: calls.append(1))
    model(x)
    assert calls == [1]


def test_what_pads_otherwise_is_left_alone() -> None:
    layer = nn.Conv2d(4, 4, 5, padding=2, groups=4, padding_mode='reflect')
    text = nn.Conv2d(4, 4, 5, padding='same', groups=4)
    mend_depthwise(nn.ModuleList([layer, text]))
    with torch.autocast('cpu', torch.bfloat16):
        for each in (layer, text):
            assert not gradients(each, torch.rand(1, 4, 8, 8))[0].startswith('_Depth')


def test_recomputed_blocks_have_the_same_gradients() -> None:
    x = torch.rand(2, 6, 9, 10, requires_grad=True)
    for layer in layers(5, 2):
        mend_depthwise(layer)
        tensors = [x, *layer.parameters()]
        with torch.autocast('cpu', torch.bfloat16):
            outs = layer(x), checkpoint(layer, x, use_reentrant=False)
        # The backward pass is outside of autocast.
        kept, again = (torch.autograd.grad(o.float().sum(), tensors) for o in outs)
        assert all(map(torch.equal, kept, again))


def test_functional_transforms_work_as_before() -> None:
    layer, _ = layers(5, 2)
    weights = dict(layer.named_parameters())
    x = torch.rand(3, 1, 6, 9, 10)

    def loss(weights: dict, x: Tensor) -> Tensor:
        with torch.autocast('cpu', torch.bfloat16):
            return functional_call(layer, weights, (x,)).float().square().mean()

    def transform() -> list[Tensor]:
        single = grad(loss)(weights, x[0])['weight']
        each = vmap(grad(loss), (None, 0))(weights, x)['weight']
        with dual_level():
            dual = make_dual(x[0], torch.ones_like(x[0]))
            tangent = unpack_dual(loss(weights, dual)).tangent
        return [single, each, tangent]

    expected = transform()
    mend_depthwise(layer)
    for ours, theirs in zip(transform(), expected):
        torch.testing.assert_close(ours, theirs, rtol=0.05, atol=2e-3)
