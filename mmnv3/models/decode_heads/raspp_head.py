"""R-ASPP, the head that Table 7 compares LR-ASPP with (MobileNetV2's)."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from mmseg.models.decode_heads.decode_head import BaseDecodeHead
from mmseg.models.utils import resize
from torch import Tensor

from mmnv3.errors import UserError
from mmnv3.models.decode_heads.window_pool import WindowPool
from mmnv3.models.layers import ConvNormAct
from mmnv3.registry import MODELS


@MODELS.register_module()
class RASPPHead(BaseDecodeHead):
    """R-ASPP: a 1×1 convolution beside image pooling, joined by another.

    It has no shallow map: the classes come at the backbone's output stride.

    Args:
        num_classes: Classes.
        in_channels: Channels of the map; 480 is ``MobileNetV3(tail='segmentation')``.
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
        ValueError: For a pooling that does not exist.
    """

    def __init__(
        self,
        num_classes: int = 19,
        in_channels: int = 480,
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
