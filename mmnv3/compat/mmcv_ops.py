"""The module that is imported as `mmcv._ext` (see `mmcv_ext.py`).

mmcv's Python side (`mmcv/ops/*.py`) fetches its compiled functions from here by name,
and hands them the tensors to write to. What torchvision computes alike stands here,
on any device that it supports, and two operators that are short in plain PyTorch; the
others say what they need.
"""

import math
from collections.abc import Callable, Iterator
from typing import Any, NoReturn

import torch
from torch import Tensor
from torch.nn.functional import logsigmoid
from torchvision.ops import nms as torchvision_nms

_TORCHVISION = torch.ops.torchvision
_AVERAGE = 1  # `pool_mode` of RoIAlign; 0 is the maximum
_SMALLEST = math.log(torch.finfo(torch.float32).tiny)


def nms(bboxes: Tensor, scores: Tensor, iou_threshold: float, offset: int) -> Tensor:
    """Non-maximum suppression with the signature of mmcv's compiled operator.

    Args:
        bboxes: Corners (x1, y1, x2, y2) in pixels, shape (N, 4).
        scores: Shape (N,).
        iou_threshold: A box goes when its IoU with a better one is above this.
        offset: 0 or 1; widths and heights are x2 - x1 + offset, as in `mmcv.ops.nms`.

    Returns:
        Indices of the kept boxes by falling score, int64, shape (K,).
    """
    # Growing every box by the offset gives all areas and overlaps that mmcv computes
    # with it. mmcv computes in float32, and so takes half-precision boxes as well.
    corners = bboxes.float() + bboxes.new_tensor([0, 0, offset, offset]).float()
    return torchvision_nms(corners, scores.float(), iou_threshold)


def roi_align_forward(
    input: Tensor,
    rois: Tensor,
    output: Tensor,
    argmax_y: Tensor,
    argmax_x: Tensor,
    aligned_height: int,
    aligned_width: int,
    spatial_scale: float,
    sampling_ratio: int,
    pool_mode: int,
    aligned: bool,
) -> None:
    """Averages bilinear samples of every bin of every region.

    Args:
        input: Features, shape (B, C, H, W).
        rois: Picture's index and corners (i, x1, y1, x2, y2) in pixels, shape (N, 5).
        output: To be written, shape (N, C, aligned_height, aligned_width).
        argmax_y: Of the maximum, which torchvision does not have.
        argmax_x: The same.
        aligned_height: Bins of a region from top to bottom.
        aligned_width: From left to right.
        spatial_scale: Cells of the features per pixel.
        sampling_ratio: Samples of a bin in either direction; 0 for one per cell.
        pool_mode: 1 for the average.
        aligned: Whether a cell's centre is at its index plus a half.

    Raises:
        NotImplementedError: For the maximum.
    """
    if pool_mode != _AVERAGE:
        _missing("roi_align_forward' with pool_mode='max")
    output.copy_(
        _TORCHVISION.roi_align(
            _wide(input),
            _wide(rois),
            spatial_scale,
            aligned_height,
            aligned_width,
            sampling_ratio,
            aligned,
        )
    )


def roi_align_backward(
    grad_output: Tensor,
    rois: Tensor,
    argmax_y: Tensor,
    argmax_x: Tensor,
    grad_input: Tensor,
    aligned_height: int,
    aligned_width: int,
    spatial_scale: float,
    sampling_ratio: int,
    pool_mode: int,
    aligned: bool,
) -> None:
    """Writes the gradient of :func:`roi_align_forward` to ``grad_input``."""
    grad_input.copy_(
        _TORCHVISION._roi_align_backward(
            _wide(grad_output),
            _wide(rois),
            spatial_scale,
            aligned_height,
            aligned_width,
            *grad_input.shape,
            sampling_ratio,
            aligned,
        )
    )


def roi_pool_forward(
    input: Tensor,
    rois: Tensor,
    output: Tensor,
    argmax: Tensor,
    pooled_height: int,
    pooled_width: int,
    spatial_scale: float,
) -> None:
    """Takes the maximum of every bin of every region.

    torchvision rounds a region's corners to cells and mmcv does not, so that this is
    computed here: a bin is all cells that it touches, and a region's right and lower
    pixels belong to it.

    Args:
        input: Features, shape (B, C, H, W).
        rois: Picture's index and corners (i, x1, y1, x2, y2) in pixels, shape (N, 5).
        output: To be written, shape (N, C, pooled_height, pooled_width). A bin outside
            the features gives 0.
        argmax: To be written, int32, of the same shape: the maximum's index in H * W,
            -1 where there is none.
        pooled_height: Bins of a region from top to bottom.
        pooled_width: From left to right.
        spatial_scale: Cells of the features per pixel.
    """
    output.zero_()
    argmax.fill_(-1)
    height, width = input.shape[2:]
    regions = _wide(rois)
    first = regions[:, 1:3] * spatial_scale
    size = (regions[:, 3:5] + 1) * spatial_scale - first
    columns = _bins(first[:, 0], size[:, 0], pooled_width, width)
    rows = _bins(first[:, 1], size[:, 1], pooled_height, height)
    valid = (size > 0).all(dim=1).tolist()
    pictures = rois[:, 0].long().tolist()
    for region, (xs, ys) in enumerate(zip(columns, rows)):
        if not valid[region]:
            continue
        features = input[pictures[region]]
        for i, (y1, y2) in enumerate(ys):
            for j, (x1, x2) in enumerate(xs):
                if y2 <= y1 or x2 <= x1:
                    continue
                best, index = features[:, y1:y2, x1:x2].flatten(1).max(dim=1)
                y = y1 + torch.div(index, x2 - x1, rounding_mode='floor')
                x = x1 + index % (x2 - x1)
                output[region, :, i, j] = best
                argmax[region, :, i, j] = (y * width + x).to(argmax.dtype)


def _bins(
    first: Tensor, size: Tensor, count: int, limit: int
) -> Iterator[list[list[int]]]:
    """The cells [begin, end) of the ``count`` bins of every region, along one axis."""
    edges = torch.arange(count + 1, device=first.device, dtype=first.dtype)
    edges = edges * (size / count)[:, None] + first[:, None]
    begin = edges[:, :-1].floor().clamp(0, limit).long()
    end = edges[:, 1:].ceil().clamp(0, limit).long()
    yield from torch.stack([begin, end], dim=2).tolist()


def roi_pool_backward(
    grad_output: Tensor,
    rois: Tensor,
    argmax: Tensor,
    grad_input: Tensor,
    pooled_height: int,
    pooled_width: int,
    spatial_scale: float,
) -> None:
    """Adds the gradient of :func:`roi_pool_forward` to ``grad_input``."""
    channels = grad_input.shape[1]
    planes = grad_input.view(-1, grad_input[0, 0].numel())
    plane = rois[:, :1].long() * channels + torch.arange(channels, device=rois.device)
    index = plane[:, :, None, None] * planes.shape[1] + argmax
    found = argmax >= 0
    planes.view(-1).index_add_(0, index[found], grad_output[found])


def deform_conv_forward(
    input: Tensor,
    weight: Tensor,
    offset: Tensor,
    output: Tensor,
    columns: Tensor,
    ones: Tensor,
    kW: int,
    kH: int,
    dW: int,
    dH: int,
    padW: int,
    padH: int,
    dilationW: int,
    dilationH: int,
    group: int,
    deformable_group: int,
    im2col_step: int,
) -> None:
    """Convolves at shifted places (DCNv1).

    Args:
        input: Shape (B, C, H, W).
        weight: Shape (out, C / group, kH, kW).
        offset: Shifts (y, x) in cells for every place of the kernel, shape
            (B, deformable_group * kH * kW * 2, output's height and width).
        output: To be written, shape (B, out, height, width).
        columns: mmcv's memory for its own use, as ``ones``.
        ones: The same.
        kW: The kernel's width.
        kH: Its height.
        dW: The stride along the width.
        dH: Along the height.
        padW: The padding along the width.
        padH: Along the height.
        dilationW: The dilation along the width.
        dilationH: Along the height.
        group: Groups of the weights.
        deformable_group: Groups of channels with shifts of their own.
        im2col_step: Pictures at once, of no effect here.
    """
    geometry = (dH, dW, padH, padW, dilationH, dilationW, group, deformable_group)
    output.copy_(_deform_conv(input, weight, offset, None, None, geometry))


def deform_conv_backward_input(
    input: Tensor,
    offset: Tensor,
    gradOutput: Tensor,
    gradInput: Tensor,
    gradOffset: Tensor,
    weight: Tensor,
    columns: Tensor,
    kW: int,
    kH: int,
    dW: int,
    dH: int,
    padW: int,
    padH: int,
    dilationW: int,
    dilationH: int,
    group: int,
    deformable_group: int,
    im2col_step: int,
) -> None:
    """Writes the gradients of input and shifts of :func:`deform_conv_forward`."""
    geometry = (dH, dW, padH, padW, dilationH, dilationW, group, deformable_group)
    grads = _deform_conv_grads(gradOutput, input, weight, offset, None, geometry)
    gradInput.copy_(grads[0])
    gradOffset.copy_(grads[2])


def deform_conv_backward_parameters(
    input: Tensor,
    offset: Tensor,
    gradOutput: Tensor,
    gradWeight: Tensor,
    columns: Tensor,
    ones: Tensor,
    kW: int,
    kH: int,
    dW: int,
    dH: int,
    padW: int,
    padH: int,
    dilationW: int,
    dilationH: int,
    group: int,
    deformable_group: int,
    scale: float,
    im2col_step: int,
) -> None:
    """Adds the weights' gradient of :func:`deform_conv_forward` to ``gradWeight``."""
    geometry = (dH, dW, padH, padW, dilationH, dilationW, group, deformable_group)
    # The weights' own gradient does not depend on them.
    grads = _deform_conv_grads(gradOutput, input, gradWeight, offset, None, geometry)
    gradWeight.add_(grads[1].to(gradWeight.dtype), alpha=scale)


def modulated_deform_conv_forward(
    input: Tensor,
    weight: Tensor,
    bias: Tensor,
    ones: Tensor,
    offset: Tensor,
    mask: Tensor,
    output: Tensor,
    columns: Tensor,
    kernel_h: int,
    kernel_w: int,
    stride_h: int,
    stride_w: int,
    pad_h: int,
    pad_w: int,
    dilation_h: int,
    dilation_w: int,
    group: int,
    deformable_group: int,
    with_bias: bool,
) -> None:
    """Convolves at shifted places that weigh differently (DCNv2).

    Args:
        input: Shape (B, C, H, W).
        weight: Shape (out, C / group, kernel_h, kernel_w).
        bias: Shape (out,), or empty.
        ones: mmcv's memory for its own use, as ``columns``.
        offset: Shifts (y, x) in cells for every place of the kernel, shape
            (B, deformable_group * kernel_h * kernel_w * 2, output's height and width).
        mask: What each of them weighs, half as many channels.
        output: To be written, shape (B, out, height, width).
        columns: As ``ones``.
        kernel_h: The kernel's height.
        kernel_w: Its width.
        stride_h: The stride along the height.
        stride_w: Along the width.
        pad_h: The padding along the height.
        pad_w: Along the width.
        dilation_h: The dilation along the height.
        dilation_w: Along the width.
        group: Groups of the weights.
        deformable_group: Groups of channels with shifts of their own.
        with_bias: Whether there is a bias.
    """
    geometry = (
        *(stride_h, stride_w, pad_h, pad_w, dilation_h, dilation_w),
        *(group, deformable_group),
    )
    given = bias if with_bias else None
    output.copy_(_deform_conv(input, weight, offset, mask, given, geometry))


def modulated_deform_conv_backward(
    input: Tensor,
    weight: Tensor,
    bias: Tensor,
    ones: Tensor,
    offset: Tensor,
    mask: Tensor,
    columns: Tensor,
    grad_input: Tensor,
    grad_weight: Tensor,
    grad_bias: Tensor,
    grad_offset: Tensor,
    grad_mask: Tensor,
    grad_output: Tensor,
    kernel_h: int,
    kernel_w: int,
    stride_h: int,
    stride_w: int,
    pad_h: int,
    pad_w: int,
    dilation_h: int,
    dilation_w: int,
    group: int,
    deformable_group: int,
    with_bias: bool,
) -> None:
    """Writes the gradients of :func:`modulated_deform_conv_forward`."""
    geometry = (
        *(stride_h, stride_w, pad_h, pad_w, dilation_h, dilation_w),
        *(group, deformable_group),
    )
    grads = _deform_conv_grads(grad_output, input, weight, offset, mask, geometry)
    grad_input.copy_(grads[0])
    grad_weight.copy_(grads[1])
    grad_offset.copy_(grads[2])
    grad_mask.copy_(grads[3])
    if with_bias:
        grad_bias.copy_(grads[4])


def _deform_conv(
    input: Tensor,
    weight: Tensor,
    offset: Tensor,
    mask: Tensor | None,
    bias: Tensor | None,
    geometry: tuple[int, ...],
) -> Tensor:
    tensors = _deform_conv_inputs(input, weight, offset, mask, bias)
    return _TORCHVISION.deform_conv2d(*tensors, *geometry, mask is not None)


def _deform_conv_grads(
    grad: Tensor,
    input: Tensor,
    weight: Tensor,
    offset: Tensor,
    mask: Tensor | None,
    geometry: tuple[int, ...],
) -> tuple[Tensor, ...]:
    """Gradients of input, weight, offset, mask and bias."""
    tensors = _deform_conv_inputs(input, weight, offset, mask, None)
    return _TORCHVISION._deform_conv2d_backward(
        _wide(grad), *tensors, *geometry, mask is not None
    )


def _deform_conv_inputs(
    input: Tensor,
    weight: Tensor,
    offset: Tensor,
    mask: Tensor | None,
    bias: Tensor | None,
) -> tuple[Tensor, ...]:
    """Their order in torchvision, with a tensor where there is no mask or bias."""
    if mask is None:
        mask = input.new_zeros(len(input), 1)
    if bias is None:
        bias = input.new_zeros(len(weight))
    return tuple(map(_wide, (input, weight, offset, mask, bias)))


def sigmoid_focal_loss_forward(
    input: Tensor,
    target: Tensor,
    weight: Tensor,
    output: Tensor,
    gamma: float,
    alpha: float,
) -> None:
    """Focal loss of every class by itself.

    Args:
        input: Logits, shape (N, classes).
        target: Classes, int64, shape (N,). Any other number is the background.
        weight: Of every class, shape (classes,), or empty: then no target may be
            background.
        output: To be written, shape (N, classes).
        gamma: Exponent that quiets what is right already.
        alpha: Share of the positives.
    """
    sign, balance = _focal_sides(input, target, weight, alpha)
    wrong = torch.sigmoid(-sign * input)
    output.copy_(-balance * wrong**gamma * _log_right(sign * input))


def sigmoid_focal_loss_backward(
    input: Tensor,
    target: Tensor,
    weight: Tensor,
    grad_input: Tensor,
    gamma: float,
    alpha: float,
) -> None:
    """Writes the gradient of :func:`sigmoid_focal_loss_forward`."""
    sign, balance = _focal_sides(input, target, weight, alpha)
    wrong = torch.sigmoid(-sign * input)
    slope = wrong - gamma * (1 - wrong) * _log_right(sign * input)
    grad_input.copy_(-sign * balance * wrong**gamma * slope)


def _focal_sides(
    input: Tensor, target: Tensor, weight: Tensor, alpha: float
) -> tuple[Tensor, Tensor]:
    """For every logit +1 or -1, which it should have, and what it weighs."""
    classes = torch.arange(input.shape[1], device=input.device)
    positive = target[:, None] == classes
    balance = torch.where(positive, alpha, 1 - alpha).to(input.dtype)
    if weight.numel():
        balance = balance * weight[target, None]
    return torch.where(positive, 1, -1).to(input.dtype), balance


def _log_right(margin: Tensor) -> Tensor:
    """Logarithm of the probability of being right, bounded as mmcv bounds it."""
    return logsigmoid(margin).clamp(min=_SMALLEST)


def _wide(tensor: Tensor) -> Tensor:
    """The same in float32, where torchvision has no operator for half precision."""
    return tensor.float() if tensor.dtype in (torch.half, torch.bfloat16) else tensor


def get_compiler_version() -> str:
    """Answers mmcv's environment report."""
    return 'none (operators of torchvision, through mmnv3)'


def get_compiling_cuda_version() -> str:
    """Answers mmcv's environment report."""
    return 'not available'


def __getattr__(operator: str) -> Callable[..., NoReturn]:
    """Gives, for any other operator, a function that says what to install."""
    if operator.startswith('__'):
        raise AttributeError(f'module {__name__!r} has no attribute {operator!r}')

    def missing(*args: Any, **kwargs: Any) -> NoReturn:
        _missing(operator)

    return missing


def _missing(operator: str) -> NoReturn:
    raise NotImplementedError(
        f"'{operator}' is a compiled operator of mmcv, and the installed mmcv has "
        'none: install `mmcv` (not `mmcv-lite`), or `onedl-mmcv` built beside '
        'PyTorch with `pip install --no-build-isolation onedl-mmcv`'
    )
