"""Fast gradients of depthwise convolutions in bfloat16 on a CPU.

Upstream fault: oneDNN, as PyTorch 2.15 brings it, computes two gradients of depthwise
convolutions in bfloat16 by a reference loop, and so three to ninety times slower than
in float32: that by a weight of more than 3×3 taps, and that by the input at a stride
of 2; and both where the taps are dilated. ``torch.autocast`` then trains these networks
slower than float32. Goes when oneDNN has kernels for both.

Both gradients are had exactly from kernels that are fast: that of a 5×5 weight as four
of 3×3 weights, on the padded input and on the same moved by two taps, and where they
are dilated on every second row and column; that of the input as a convolution at stride
1, with the turned weight, of the output's gradient with zeros between its cells.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd import Function
from torch.nn import functional as F
from torch.nn.grad import conv2d_input, conv2d_weight

# Of rows and of columns; as long as PyTorch knows.
Pair = tuple[int, ...]
# Before and after the rows, before and after the columns.
Padding = Sequence[Pair]

# Taps that a side of a kernel may have for oneDNN to be fast.
_TAPS = 3


def mend_depthwise(model: nn.Module) -> None:
    """Gives the depthwise convolutions of a model the gradients of :func:`conv2d`.

    They stay the modules that they are, with their hooks, and compute what they did;
    outside of bfloat16 on a CPU nothing changes. Subclasses that convolve in a way of
    their own are left alone.
    """
    for module in model.modules():
        if (
            isinstance(module, nn.Conv2d)
            and type(module)._conv_forward is nn.Conv2d._conv_forward
            and not isinstance(module.padding, str)
            and module.padding_mode == 'zeros'
            and module.groups == module.in_channels == module.out_channels > 1
        ):
            padding = tuple((side, side) for side in module.padding)
            vars(module)['_conv_forward'] = partial(_conv_forward, module, padding)


def _conv_forward(
    module: nn.Conv2d, padding: Padding, x: Tensor, weight: Tensor, bias: Tensor | None
) -> Tensor:
    stride, dilation, groups = module.stride, module.dilation, module.groups
    return conv2d(x, weight, bias, stride, padding, dilation, groups)


def conv2d(
    x: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    stride: Pair,
    padding: Padding,
    dilation: Pair,
    groups: int,
) -> Tensor:
    """``F.conv2d`` with a padding for every side, and fast gradients in bfloat16.

    Args:
        x: (N, C, H, W).
        weight: (out, C / groups, taps, taps).
        bias: (out,), or None.
        stride: Of rows and columns, as all that follows.
        padding: Zeros before and after.
        dilation: Distance of taps.
        groups: Of channels.

    Returns:
        (N, out, H', W').
    """
    if _has_slow_gradient(x, weight, stride, padding, dilation, groups):
        # What autocast would do, and gradients come back in their own type.
        x, weight = x.bfloat16(), weight.bfloat16()
        bias = None if bias is None else bias.bfloat16()
        return _DepthwiseConv2d.apply(x, weight, bias, stride, padding, dilation)
    return _convolve(x, weight, bias, stride, padding, dilation, groups)


def _has_slow_gradient(
    x: Tensor,
    weight: Tensor,
    stride: Pair,
    padding: Padding,
    dilation: Pair,
    groups: int,
) -> bool:
    # A compiler has to see a convolution.
    if torch.compiler.is_compiling() or x.device.type != 'cpu':
        return False
    autocast = torch.is_autocast_enabled('cpu') and (
        torch.get_autocast_dtype('cpu') == torch.bfloat16
    )
    dtypes = (torch.float32, torch.bfloat16) if autocast else (torch.bfloat16,)
    taps = tuple(weight.shape[2:])
    return (
        x.dtype in dtypes
        and torch.is_grad_enabled()
        and (x.requires_grad or weight.requires_grad)
        and x.dim() == 4
        and 1 < groups == x.shape[1] == weight.shape[0]
        and (max(taps) > _TAPS or max(*stride, *dilation) > 1)
        and all(count % 2 for count in taps)
        # Beyond that the padded input has cells that no tap of the turned weight sees.
        and all(max(p) <= d * (k - 1) for p, d, k in zip(padding, dilation, taps))
    )


def _convolve(
    x: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    stride: Pair,
    padding: Padding,
    dilation: Pair,
    groups: int,
) -> Tensor:
    before, after = zip(*padding)
    if before != after:
        x, before = _pad(x, padding), (0, 0)
    return F.conv2d(x, weight, bias, stride, before, dilation, groups)


def _pad(x: Tensor, padding: Padding) -> Tensor:
    # F.pad counts from the last dimension.
    return F.pad(x, [side for pair in padding[::-1] for side in pair])


class _DepthwiseConv2d(Function):
    """A convolution with as many groups as channels; see the module."""

    generate_vmap_rule = True

    @staticmethod
    def forward(
        x: Tensor,
        weight: Tensor,
        bias: Tensor | None,
        stride: Pair,
        padding: Padding,
        dilation: Pair,
    ) -> Tensor:
        return _convolve(x, weight, bias, stride, padding, dilation, len(weight))

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple, output: Tensor) -> None:
        # The input itself and not its padded copy, which need not live so long.
        x, weight, _, *ctx.settings = inputs
        ctx.save_for_backward(x, weight)
        ctx.save_for_forward(x, weight)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        x, weight = ctx.saved_tensors
        by_x, by_weight, by_bias = ctx.needs_input_grad[:3]
        return (
            _input_gradient(x, weight, grad, *ctx.settings) if by_x else None,
            _weight_gradient(x, weight, grad, *ctx.settings) if by_weight else None,
            grad.sum((0, 2, 3)) if by_bias else None,
            None,
            None,
            None,
        )

    @staticmethod
    def jvp(
        ctx: Any,
        x_tangent: Tensor | None,
        weight_tangent: Tensor | None,
        bias_tangent: Tensor | None,
        *_: None,
    ) -> Tensor:
        x, weight = ctx.saved_tensors
        x_tangent = torch.zeros_like(x) if x_tangent is None else x_tangent
        settings = *ctx.settings, len(weight)
        tangent = _convolve(x_tangent, weight, bias_tangent, *settings)
        if weight_tangent is not None:
            tangent = tangent + _convolve(x, weight_tangent, None, *settings)
        return tangent


def _input_gradient(
    x: Tensor,
    weight: Tensor,
    grad: Tensor,
    stride: Pair,
    padding: Padding,
    dilation: Pair,
) -> Tensor:
    before, after = zip(*padding)
    groups = len(weight)
    if max(*stride, *dilation) == 1 and before == after:
        return conv2d_input(x.shape, weight, grad, stride, before, dilation, groups)
    # How far the outermost taps reach.
    reach = [d * (count - 1) for d, count in zip(dilation, weight.shape[2:])]
    height, width = (size + r for size, r in zip(x.shape[2:], reach))
    # Channels last, as all of these networks are on a CPU.
    spread = grad.new_zeros(len(x), height, width, groups).permute(0, 3, 1, 2)
    rows, columns = (
        slice(r - p, r - p + (cells - 1) * step + 1, step)
        for r, p, cells, step in zip(reach, before, grad.shape[2:], stride)
    )
    spread[:, :, rows, columns] = grad
    return F.conv2d(spread, weight.flip(2, 3), dilation=dilation, groups=groups)


def _weight_gradient(
    x: Tensor,
    weight: Tensor,
    grad: Tensor,
    stride: Pair,
    padding: Padding,
    dilation: Pair,
) -> Tensor:
    if max(stride) == 1 < max(dilation):
        # Zeros make grids of one size, and have no part in the gradient.
        more = [-size % d for size, d in zip(grad.shape[2:], dilation)]
        wider = [(first, last + m) for (first, last), m in zip(padding, more)]
        x = _grids(_pad(x, wider), dilation)
        grad = _grids(_pad(grad, [(0, m) for m in more]), dilation)
        padding, dilation = ((0, 0), (0, 0)), (1, 1)
    before, after = zip(*padding)
    if max(weight.shape[2:]) <= _TAPS and before == after:
        size, groups = list(weight.shape), len(weight)
        return conv2d_weight(x, size, grad, stride, before, dilation, groups)
    padded = _pad(x, padding)
    rows = [
        torch.cat(
            [
                _tile_gradient(padded, weight, grad, (row, column), stride, dilation)
                for column in _tile_starts(weight.shape[3])
            ],
            dim=3,
        )
        for row in _tile_starts(weight.shape[2])
    ]
    return torch.cat(rows, dim=2)


def _grids(x: Tensor, dilation: Pair) -> Tensor:
    """Every second row and column, or whatever a dilation is, one after the other.

    A dilated convolution at stride 1 is one without dilation of them.

    Returns:
        Channels last, with as many times the batch as there are such grids.
    """
    grids = [
        x[:, :, row :: dilation[0], column :: dilation[1]]
        for row in range(dilation[0])
        for column in range(dilation[1])
    ]
    return torch.cat(grids).contiguous(memory_format=torch.channels_last)


def _tile_starts(taps: int) -> Sequence[int]:
    """The first taps of tiles of three, each of which begins where one ends."""
    return range(0, max(taps - _TAPS, 0) + 1, _TAPS - 1)


def _tile_gradient(
    padded: Tensor,
    weight: Tensor,
    grad: Tensor,
    start: Pair,
    stride: Pair,
    dilation: Pair,
) -> Tensor:
    """The gradient by a tile of the weight, without the taps of tiles before it."""
    taps = [min(_TAPS, count) for count in weight.shape[2:]]
    rows, columns = (
        slice(first * d, first * d + (cells - 1) * step + (count - 1) * d + 1)
        for first, d, cells, step, count in zip(
            start, dilation, grad.shape[2:], stride, taps
        )
    )
    size = [len(weight), 1, *taps]
    tile = conv2d_weight(
        padded[:, :, rows, columns], size, grad, stride, 0, dilation, len(weight)
    )
    return tile[:, :, min(start[0], 1) :, min(start[1], 1) :]
