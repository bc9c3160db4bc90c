"""LR-ASPP and R-ASPP: the segmentation heads and their pooling (Section 6.4)."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import torch
from mmseg.models.decode_heads.decode_head import BaseDecodeHead
from mmseg.models.utils import resize
from torch import Tensor, nn
from torch.nn import functional as F

from mmnv3.arch import backbone_taps, check_choice, check_count, check_counts
from mmnv3.errors import NotFiniteError, UserError
from mmnv3.models.layers import GATES, ConvNormAct
from mmnv3.registry import MODELS

_Pair = tuple[int, int]

# What the defaults fit: the paper's segmenters.
_LOW, _HIGH = (
    tap.channels
    for tap in backbone_taps(
        dict(tail='segmentation', out_taps=('block6.depthwise', 'C5'))
    )
)

# Figure 10, in pixels: a kernel of the whole 769 pixel training crop, and strides of
# 16 and 20 cells at output stride 16.
_CROP = 769
_PIXELS = (256, 320)


def pool_window(
    pool: str | Sequence[Sequence[int]], output_stride: int
) -> tuple[_Pair, _Pair] | None:
    """The kernel and the stride, (height, width) in cells, that a setting means.

    Args:
        pool: ``'paper'``, ``'global'``, or ((kernel height, width), (stride height,
            width)) in cells.
        output_stride: Of the feature map. The paper's window is 49×49 with strides
            16×20 at 16; at 32 and 8 it covers the same pixels.

    Returns:
        The two, or None for the whole map.

    Raises:
        UserError: For anything else.
    """
    if pool == 'global':
        return None
    if pool == 'paper':
        check_count('output_stride', output_stride, 64)
        side = (_CROP - 1) // output_stride + 1
        return (side, side), (_PIXELS[0] // output_stride, _PIXELS[1] // output_stride)
    try:
        kernel, stride = (_read_pair(pair) for pair in pool)
    except (TypeError, ValueError):
        raise UserError(
            f"pool={pool!r} is impossible; possible: 'paper', 'global', or "
            '((kernel height, width), (stride height, width)) in cells'
        ) from None
    return kernel, stride


def _read_pair(pair: Iterable[Any]) -> _Pair:
    height, width = pair
    if not all(isinstance(size, int) and size > 0 for size in (height, width)):
        raise ValueError('not positive numbers of cells')
    return int(height), int(width)


class WindowPool(nn.Module):
    """Averages over windows, which shrink to the map where it is smaller.

    In training on crops of the window's size, and on small pictures, it is a global
    average; on whole street scenes there are several windows, and the gate that comes
    from them varies over the picture.

    Args:
        pool: See :func:`pool_window`.
        output_stride: Of the feature map.
    """

    def __init__(self, pool: str | Sequence[Sequence[int]], output_stride: int) -> None:
        super().__init__()
        self.window = pool_window(pool, output_stride)

    def forward(self, x: Tensor) -> Tensor:
        """Maps (N, C, H, W) to (N, C, windows down, windows across)."""
        size = x.shape[-2:]
        kernel, stride = self.window or (size, size)
        fitting = (min(kernel[0], size[0]), min(kernel[1], size[1]))
        # The same where they are equal, and exporters know it as one operator.
        return (
            F.adaptive_avg_pool2d(x, 1)
            if fitting == size
            else F.avg_pool2d(x, fitting, stride)
        )

    def extra_repr(self) -> str:
        """Shows the window."""
        return f'window={self.window}'


# What mmseg's heads can be told and ours cannot, and why.
_OTHERS = {
    'branch_channels': 'shallow maps are classified as they are (Figure 10)',
    'dilations': 'there are no dilated branches (Section 6.4)',
    'conv_cfg': 'all convolutions are plain ones',
    'act_cfg': 'the activation is ReLU',
}


def _refuse_others(
    head: str, settings: dict[str, Any], input_transform: str | None
) -> None:
    """Refuses what mmseg's heads know and ours do not; takes out what ours imply."""
    given = settings.pop('input_transform', input_transform)
    if given != input_transform:
        raise UserError(
            f'{head} always has input_transform={input_transform!r}; leave out '
            f'input_transform={given!r}'
        )
    if settings.get('act_cfg') == dict(type='ReLU'):
        del settings['act_cfg']
    for key in settings:
        if key in _OTHERS and settings[key] is not None:
            raise UserError(
                f'{head} has no {key}: {_OTHERS[key]}; leave it out, or use a head of '
                'mmseg'
            )


class _Head(BaseDecodeHead):
    """What the two have in common."""

    def predict_by_feat(
        self, seg_logits: Tensor, batch_img_metas: list[dict]
    ) -> Tensor:
        """Resizes logits as mmseg does, which would call NaN the first class.

        Raises:
            NotFiniteError: Where there is NaN; names the picture.
        """
        # A maximum with NaN is NaN.
        sick = seg_logits.amax((1, 2, 3)).isnan()
        if sick.any():
            meta = batch_img_metas[int(sick.int().argmax())]
            raise NotFiniteError(
                f'the network gives NaN for {meta.get("img_path", "a picture")}; its '
                'weights are damaged, or its training failed: use an earlier checkpoint'
            )
        return super().predict_by_feat(seg_logits, batch_img_metas)


@MODELS.register_module()
class LRASPPHead(_Head):
    """LR-ASPP: a gated 1×1 convolution, and the classes of two strides added up.

    The deep map goes through a 1×1 convolution with BN and ReLU and is multiplied by
    the sigmoid of its own pooled average; resized to the shallow map's size and
    classified by a 1×1 convolution, it is added to the classes of the shallow map.
    Source: DeepLab ``model.py`` with the flags of its model zoo; paper.md lists where
    torchvision's and mmseg's heads of the same name differ.

    Args:
        num_classes: Classes.
        in_channels: Channels of the shallow and the deep map; those of
            ``MobileNetV3(tail='segmentation', output_stride=16, out_taps=
            ('block6.depthwise', 'C5'))`` by default.
        channels: F of Table 7, 128 or 256.
        output_stride: Of the deep map; it gives the paper's window its size.
        pool: Where the gate averages: ``'paper'``, ``'global'``, or ((kernel height,
            width), (stride height, width)) in cells; a window shrinks to a smaller map.
        gate: ``'sigmoid'`` (Figure 10), ``'hsigmoid'``, or ``'hsigmoid_tf'`` (the model
            zoo's flags).
        norm_cfg: Normalisation; by default with DeepLab's eps of 1e-5.
        align_corners: How maps are resized. True is DeepLab's, False torchvision's.
        in_index: Where the two maps stand among the backbone's.
        loss_decode: Cross-entropy by default.
        init_cfg: Initialisation; Kaiming for the hidden convolutions and N(0, 0.01)
            for the classifiers by default.
        dropout_ratio: Of the channels that the two classifiers see; DeepLab drops none.
        **kwargs: Others of mmseg's ``BaseDecodeHead``, as ``sampler`` and
            ``ignore_index``.

    Raises:
        UserError: For a gate or pooling that does not exist, and for what mmseg's head
            of the same name knows and this one has not.
    """

    def __init__(
        self,
        num_classes: int = 19,
        in_channels: Sequence[int] = (_LOW, _HIGH),
        channels: int = 128,
        output_stride: int = 16,
        pool: str | Sequence[Sequence[int]] = 'paper',
        gate: str = 'sigmoid',
        norm_cfg: dict | None = None,
        align_corners: bool = True,
        in_index: Sequence[int] = (0, 1),
        loss_decode: dict | list[dict] | None = None,
        init_cfg: dict | list[dict] | None = None,
        dropout_ratio: float = 0.0,
        **kwargs: object,
    ) -> None:
        check_choice('gate', gate, GATES)
        _refuse_others('LRASPPHead', kwargs, input_transform='multiple_select')
        # Of the shallow and of the deep map.
        check_counts('in_channels', in_channels, 2)
        check_count('num_classes', num_classes)
        check_count('channels', channels)
        super().__init__(
            in_channels=tuple(in_channels),
            channels=channels,
            num_classes=num_classes,
            in_index=tuple(in_index),
            input_transform='multiple_select',
            norm_cfg=norm_cfg or dict(type='BN', eps=1e-5),
            align_corners=align_corners,
            # With the prefix it is mmseg's under any default scope.
            loss_decode=loss_decode or dict(type='mmseg.CrossEntropyLoss'),
            dropout_ratio=dropout_ratio,
            init_cfg=init_cfg
            or [
                dict(type='Kaiming', layer='Conv2d', mode='fan_out'),
                dict(
                    type='Normal',
                    std=0.01,
                    override=[dict(name='conv_seg'), dict(name='low_seg')],
                ),
            ],
            **kwargs,
        )
        low, high = self.in_channels
        self.conv = ConvNormAct(high, channels, 1, norm_cfg=self.norm_cfg)
        self.pool = WindowPool(pool, output_stride)
        self.pool_conv = nn.Conv2d(high, channels, 1)
        self.gate = GATES[gate]()
        self.low_seg = nn.Conv2d(low, self.out_channels, 1)

    def forward(self, inputs: Sequence[Tensor]) -> Tensor:
        """Classifies.

        Args:
            inputs: The backbone's maps.

        Returns:
            Logits at the shallow map's stride, (N, num_classes, H / 8, W / 8).
        """
        low, high = self._transform_inputs(inputs)
        gate = self.gate(self.pool_conv(self.pool(high)))
        x = self.conv(high)
        if gate.shape[-2:].numel() > 1:
            gate = self._resize(gate, x)
        deep = self.cls_seg(self._resize(x * gate, low))
        return deep + self.low_seg(low if self.dropout is None else self.dropout(low))

    def _resize(self, x: Tensor, like: Tensor) -> Tensor:
        return resize(
            x,
            size=like.shape[-2:],
            mode='bilinear',
            align_corners=self.align_corners,
        )


@MODELS.register_module()
class RASPPHead(_Head):
    """R-ASPP: a 1×1 convolution beside image pooling, joined by another.

    It has no shallow map: the classes come at the backbone's output stride.

    Args:
        num_classes: Classes.
        in_channels: Channels of the map; by default that of
            ``MobileNetV3(tail='segmentation')``.
        channels: F of Table 7.
        output_stride: Of the map; only a window of ``pool='paper'`` depends on it.
        pool: ``'global'`` (DeepLab's default), ``'paper'`` or sizes, as in
            ``LRASPPHead``.
        norm_cfg: Normalisation; by default with DeepLab's eps of 1e-5.
        align_corners: How maps are resized.
        in_index: Where the map stands among the backbone's.
        dropout_ratio: Before the classifier.
        loss_decode: Cross-entropy by default.
        init_cfg: Initialisation; Kaiming for the hidden convolutions and N(0, 0.01)
            for the classifier by default.
        **kwargs: Others of mmseg's ``BaseDecodeHead``.

    Raises:
        UserError: For a pooling that does not exist, and for settings of mmseg's other
            heads that this one has not.
    """

    def __init__(
        self,
        num_classes: int = 19,
        in_channels: int = _HIGH,
        channels: int = 256,
        output_stride: int = 16,
        pool: str | Sequence[Sequence[int]] = 'global',
        norm_cfg: dict | None = None,
        align_corners: bool = True,
        in_index: int = -1,
        dropout_ratio: float = 0.1,
        loss_decode: dict | list[dict] | None = None,
        init_cfg: dict | list[dict] | None = None,
        **kwargs: object,
    ) -> None:
        _refuse_others('RASPPHead', kwargs, input_transform=None)
        check_count('in_channels', in_channels)
        check_count('num_classes', num_classes)
        check_count('channels', channels)
        super().__init__(
            in_channels=in_channels,
            channels=channels,
            num_classes=num_classes,
            in_index=in_index,
            norm_cfg=norm_cfg or dict(type='BN', eps=1e-5),
            align_corners=align_corners,
            # With the prefix it is mmseg's under any default scope.
            loss_decode=loss_decode or dict(type='mmseg.CrossEntropyLoss'),
            dropout_ratio=dropout_ratio,
            init_cfg=init_cfg
            or [
                dict(type='Kaiming', layer='Conv2d', mode='fan_out'),
                dict(type='Normal', std=0.01, override=dict(name='conv_seg')),
            ],
            **kwargs,
        )
        common = dict(kernel_size=1, norm_cfg=self.norm_cfg)
        self.conv = ConvNormAct(in_channels, channels, **common)
        self.pool = WindowPool(pool, output_stride)
        self.pool_conv = ConvNormAct(in_channels, channels, **common)
        self.join = ConvNormAct(2 * channels, channels, **common)

    def forward(self, inputs: Sequence[Tensor]) -> Tensor:
        """Classifies.

        Args:
            inputs: The backbone's maps.

        Returns:
            Logits at the map's stride, (N, num_classes, H / 16, W / 16).

        Raises:
            UserError: In training with one picture whose pooling is global, since
                batch normalisation then has a single value per channel.
        """
        x = self._transform_inputs(inputs)
        pooled = self.pool(x)
        if self.training and pooled.numel() == self.in_channels:
            raise UserError(
                'RASPPHead normalises its image pooling over the batch, which is one '
                'picture; train it with batch_size=2 or more'
            )
        pooled = resize(
            self.pool_conv(pooled),
            size=x.shape[-2:],
            mode='bilinear',
            align_corners=self.align_corners,
        )
        return self.cls_seg(self.join(torch.cat([self.conv(x), pooled], dim=1)))
