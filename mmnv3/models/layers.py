"""The layers that every network of :mod:`mmnv3.arch` is built from."""

from __future__ import annotations

import warnings

import torch
from mmcv.cnn import ConvModule, build_activation_layer
from mmcv.cnn.bricks.conv_module import efficient_conv_bn_eval_forward
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.modules.batchnorm import _BatchNorm

from mmnv3.arch import PADDINGS, BlockPlan, Layer, block_layers, check_choice
from mmnv3.arch.layers import SQUEEZE_EXCITE, same_padding
from mmnv3.compat.depthwise_bfloat16 import conv2d
from mmnv3.errors import Remark, UserError
from mmnv3.registry import MODELS

_ACT_TYPES = {'relu': 'ReLU', 'relu6': 'ReLU6', 'hswish': 'HSwish'}


class HardSigmoidTF(nn.Module):
    """ReLU6(x + 3) · 0.16667, the gate that the original code computes.

    The factor is not 1/6: a sum over a network's gates moves logits by up to 0.01.
    Source: slim ``mobilenet_v3.py`` and DeepLab's ``q_sigmoid``.
    """

    FACTOR = 0.16667

    def forward(self, x: Tensor) -> Tensor:
        """Maps numbers to [0, 1.00002]."""
        # The factor first: OpenVINO takes the other order for a gate with 1/6.
        return F.hardtanh(x * self.FACTOR + 3 * self.FACTOR, 0, 6 * self.FACTOR)


GATES = {
    'sigmoid': nn.Sigmoid,
    'hsigmoid': nn.Hardsigmoid,
    'hsigmoid_tf': HardSigmoidTF,
}


@MODELS.register_module()
class Conv2dSame(nn.Conv2d):
    """A convolution that pads as TensorFlow's ``'SAME'``, whatever the input's size.

    The output has ⌈size / stride⌉ cells, and where an odd number of rows is missing
    the bottom gets one more than the top. Padding the image so costs a copy of it,
    which takes a fifth of SSDLite-Large's time at 320 pixels on one CPU thread. So in
    inference the kernel gets a leading row of zeros instead, and the image the same
    padding on both sides: the same sums. In training the image is padded, since
    oneDNN has no fast gradient for the even kernels that this makes.

    Takes the arguments of ``nn.Conv2d``; ``padding`` is ignored.
    """

    def _conv_forward(self, x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        """Maps (N, C, H, W) to (N, out, ⌈H / stride⌉, ⌈W / stride⌉)."""
        missing = [
            same_padding(*row)
            for row in zip(x.shape[-2:], self.kernel_size, self.stride, self.dilation)
        ]
        uneven = [total % 2 for total in missing]
        stride, dilation, groups = self.stride, self.dilation, self.groups
        if not any(uneven) or torch.is_grad_enabled() or max(dilation) > 1:
            rows, columns = ((total // 2, total - total // 2) for total in missing)
            return conv2d(x, weight, bias, stride, (rows, columns), dilation, groups)
        weight = F.pad(weight, (uneven[1], 0, uneven[0], 0))
        padding = [(total + 1) // 2 for total in missing]
        return F.conv2d(x, weight, bias, stride, padding, dilation, groups)


def same_conv_cfg(padding: str, stride: int = 2) -> dict | None:
    """The ``conv_cfg`` of a convolution under a padding rule.

    The rules differ at stride 2 only.

    Args:
        padding: ``'same'`` as TensorFlow pads, or ``'symmetric'`` as PyTorch does.
        stride: The convolution's stride.

    Raises:
        UserError: For any other padding.
    """
    check_choice('padding', padding, PADDINGS)
    same = padding == 'same' and stride > 1
    return dict(type='mmnv3.Conv2dSame') if same else None


class SmallBatchNorm2d(nn.BatchNorm2d):
    """Batch normalisation that also trains on a single value per channel.

    One value has no variance, and PyTorch refuses it: one picture whose last maps are
    1×1. Here such a batch is normalised by the running statistics, as in inference,
    and leaves them as they are. All other batches are those of ``nn.BatchNorm2d``.
    """

    def forward(self, x: Tensor) -> Tensor:
        """Maps (N, C, H, W) to the same shape."""
        single = self.training and self.track_running_stats and x.numel() == x.size(1)
        if not single:
            return super().forward(x)
        warnings.warn(
            'a batch of one picture leaves a single value per channel on the smallest '
            'maps, which is normalised by the running statistics; larger batches train '
            'better',
            Remark,
            stacklevel=2,
        )
        statistics = self.running_mean, self.running_var
        return F.batch_norm(x, *statistics, self.weight, self.bias, eps=self.eps)


def small_batch_norm_cfg(norm_cfg: dict) -> dict:
    """The same normalisation, but one that trains on a single value per channel."""
    batch = norm_cfg['type'] in ('BN', 'BN2d')
    return {**norm_cfg, 'type': SmallBatchNorm2d} if batch else norm_cfg


def check_norm(norm_cfg: dict) -> None:
    """Checks that a normalisation exists, which mmcv does with a traceback.

    Raises:
        UserError: When it does not.
    """
    kind = norm_cfg.get('type') if isinstance(norm_cfg, dict) else None
    if not isinstance(kind, type) and (
        not isinstance(kind, str) or MODELS.get(kind) is None
    ):
        raise UserError(
            f'norm_cfg={norm_cfg!r} names no normalisation; give one, as '
            "dict(type='BN')"
        )


def build_act(act: str) -> nn.Module:
    """Builds an activation of :data:`mmnv3.arch.spec.ACTIVATIONS`.

    Raises:
        UserError: For any other.
    """
    check_choice('act', act, _ACT_TYPES)
    return build_activation_layer(dict(type=_ACT_TYPES[act], inplace=True))


class ConvNormAct(ConvModule):
    """mmcv's ``ConvModule``, with its owner's initialisation and faster inference.

    A plain one initialises itself after its owner has, and so undoes it.

    In inference on a CPU batch normalisation is folded into the kernel: a pass over the
    output of its own takes a third of LR-ASPP-Large's time on a street scene. The fold
    is made anew for every picture, so that weights may change, and costs nothing beside
    that. A GPU would wait for its small kernels.
    """

    def init_weights(self) -> None:
        """Does nothing."""

    def forward(self, x: Tensor, activate: bool = True, norm: bool = True) -> Tensor:
        """Maps (N, C, H, W) to (N, out, H / stride, W / stride)."""
        folds = (
            norm
            and x.device.type == 'cpu'
            and not torch.is_grad_enabled()
            and isinstance(self.norm, _BatchNorm)
            and not self.norm.training
            and self.norm.track_running_stats
        )
        if not folds:
            return super().forward(x, activate, norm)
        x = efficient_conv_bn_eval_forward(self.norm, self.conv, x)
        return self.activate(x) if activate and self.with_activation else x


def build_layer(layer: Layer, norm_cfg: dict) -> nn.Module:
    """Builds a layer with weights of a network.

    Args:
        layer: A convolution, which has no bias but normalisation, or a
            squeeze-and-excite.
        norm_cfg: Normalisation, as everywhere in OpenMMLab.
    """
    if layer.kind == SQUEEZE_EXCITE and layer.act:
        return SqueezeExcite(layer.in_channels, layer.hidden, layer.act)
    return ConvNormAct(
        layer.in_channels,
        layer.out_channels,
        layer.kernel,
        stride=layer.stride,
        padding=layer.dilation * (layer.kernel - 1) // 2,
        dilation=layer.dilation,
        groups=layer.groups,
        conv_cfg=same_conv_cfg(layer.padding, layer.stride),
        norm_cfg=norm_cfg,
        act_cfg=layer.act and dict(type=_ACT_TYPES[layer.act]),
    )


class SqueezeExcite(nn.Module):
    """Scales channels by a gate computed from their averages (Section 5.3).

    Two 1×1 convolutions with bias and without normalisation, ReLU between them.

    Args:
        channels: Channels of input and output.
        hidden: Channels between the convolutions.
        gate: One of :data:`GATES`.
    """

    def __init__(self, channels: int, hidden: int, gate: str = 'hsigmoid') -> None:
        super().__init__()
        self.reduce = nn.Conv2d(channels, hidden, 1)
        self.act = nn.ReLU(inplace=True)
        self.expand = nn.Conv2d(hidden, channels, 1)
        self.gate = GATES[gate]()

    def forward(self, x: Tensor) -> Tensor:
        """Maps (N, C, H, W) to the same shape."""
        hidden = self.act(self.reduce(F.adaptive_avg_pool2d(x, 1)))
        return x * self.gate(self.expand(hidden))


class Bottleneck(nn.Module):
    """One row of the paper's tables: expand, depthwise, squeeze-excite, project.

    Args:
        plan: The row, with what its neighbours decide.
        norm_cfg: Normalisation.
        padding: ``'same'`` or ``'symmetric'``.
        until: ``'out'`` builds the whole block, ``'expand'`` or ``'depthwise'`` only
            what leads to that tap.
    """

    def __init__(
        self, plan: BlockPlan, norm_cfg: dict, padding: str, until: str = 'out'
    ) -> None:
        super().__init__()
        self.until = until
        self.residual = plan.residual
        for layer in block_layers(plan, padding=padding):
            if not layer.weights():
                continue
            part = layer.name.removeprefix(f'{plan.name}.')
            self.add_module(part, build_layer(layer, norm_cfg))
            if part == until:
                break

    def taps(self, x: Tensor) -> dict[str, Tensor]:
        """Runs the block and keeps what can be tapped.

        Args:
            x: (N, in_channels, H, W).

        Returns:
            ``'expand'``, ``'depthwise'`` (before squeeze-and-excite) and ``'out'``, as
            far as they are built.
        """
        found, out = {}, x
        for name, layer in self.named_children():
            out = found[name] = layer(out)
        if self.until == 'out':
            found['out'] = x + out if self.residual else out
        return found

    def forward(self, x: Tensor) -> Tensor:
        """Maps (N, in_channels, H, W) to (N, out, H / stride, W / stride)."""
        return self.taps(x)[self.until]
