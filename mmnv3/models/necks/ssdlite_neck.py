"""The extra feature levels of SSDLite."""

from __future__ import annotations

from collections.abc import Sequence

from mmdet.models.necks import SSDNeck

from mmnv3.models.layers import same_conv_cfg
from mmnv3.registry import MODELS


@MODELS.register_module()
class SSDLiteNeck(SSDNeck):
    """Passes the backbone's taps on and adds four smaller levels.

    Each extra level is a 1×1 convolution to half its width, a 3×3 depthwise one of
    stride 2 and a 1×1 one, all with normalisation and ReLU6 (the Object Detection
    API's ``multi_resolution_feature_maps`` with the V3 extractor).

    Args:
        in_channels: Channels of the taps; C4 and C5 of the Large network with its
            detection tail by default.
        extra_channels: Channels of the extra levels.
        width: Multiplier of the extra levels, which get at least 16 channels.
        padding: ``'same'`` as TensorFlow pads, or ``'symmetric'``.
        norm_cfg: Normalisation.
        init_cfg: Initialisation; N(0, 0.03) by default.
    """

    def __init__(
        self,
        in_channels: Sequence[int] = (672, 480),
        extra_channels: Sequence[int] = (512, 256, 256, 128),
        width: float = 1.0,
        padding: str = 'same',
        norm_cfg: dict | None = None,
        init_cfg: dict | list[dict] | None = None,
    ) -> None:
        extras = tuple(max(16, int(width * channels)) for channels in extra_channels)
        super().__init__(
            in_channels=tuple(in_channels),
            out_channels=(*in_channels, *extras),
            level_strides=(2,) * len(extras),
            level_paddings=(1,) * len(extras),
            l2_norm_scale=None,
            use_depthwise=True,
            conv_cfg=same_conv_cfg(padding),
            norm_cfg=norm_cfg or dict(type='BN', eps=1e-3, momentum=0.03),
            act_cfg=dict(type='ReLU6'),
            init_cfg=init_cfg or dict(type='TruncNormal', layer='Conv2d', std=0.03),
        )
        self.out_channels: tuple[int, ...] = (*in_channels, *extras)
