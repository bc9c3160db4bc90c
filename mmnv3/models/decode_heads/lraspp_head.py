"""Lite R-ASPP, the paper's segmentation head (Section 6.4, Figure 10)."""

from __future__ import annotations

from collections.abc import Sequence

from mmseg.models.decode_heads.decode_head import BaseDecodeHead
from mmseg.models.utils import resize
from torch import Tensor, nn

from mmnv3.models.decode_heads.window_pool import WindowPool
from mmnv3.models.layers import GATES, ConvNormAct
from mmnv3.registry import MODELS


@MODELS.register_module()
class LRASPPHead(BaseDecodeHead):
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
        gate: ``'sigmoid'`` (Figure 10) or ``'hsigmoid'`` (the model zoo's flags).
        norm_cfg: Normalisation; by default with DeepLab's eps of 1e-5.
        align_corners: How maps are resized. True is DeepLab's, False torchvision's.
        in_index: Where the two maps stand among the backbone's.
        loss_decode: Cross-entropy by default.
        init_cfg: Initialisation; Kaiming for the hidden convolutions and N(0, 0.01)
            for the classifiers by default.
        **kwargs: Others of mmseg's ``BaseDecodeHead``, as ``sampler`` and
            ``ignore_index``.

    Raises:
        ValueError: For a gate or pooling that does not exist.
    """

    def __init__(
        self,
        num_classes: int = 19,
        in_channels: Sequence[int] = (120, 480),
        channels: int = 128,
        output_stride: int = 16,
        pool: str | Sequence[Sequence[int]] = 'paper',
        gate: str = 'sigmoid',
        norm_cfg: dict | None = None,
        align_corners: bool = True,
        in_index: Sequence[int] = (0, 1),
        loss_decode: dict | list[dict] | None = None,
        init_cfg: dict | list[dict] | None = None,
        **kwargs: object,
    ) -> None:
        if gate not in GATES:
            raise ValueError(
                f'gate={gate!r} is unknown; possible: {", ".join(map(repr, GATES))}'
            )
        if len(in_channels) != 2:
            raise ValueError(
                f'in_channels={tuple(in_channels)} must be two numbers: of the shallow '
                'and of the deep map'
            )
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
            dropout_ratio=0,
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
        return self.cls_seg(self._resize(x * gate, low)) + self.low_seg(low)

    def _resize(self, x: Tensor, like: Tensor) -> Tensor:
        return resize(
            x,
            size=like.shape[-2:],
            mode='bilinear',
            align_corners=self.align_corners,
        )
