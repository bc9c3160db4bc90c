"""The efficient last stage: what follows pooling in a classifier (Section 5.1)."""

from __future__ import annotations

from mmpretrain.models.heads import ClsHead
from torch import Tensor, nn

from mmnv3.arch import check_count, check_positive, follow_backbone
from mmnv3.models.layers import build_act
from mmnv3.registry import MODELS

# What the defaults fit: the paper's Large.
_DEFAULTS = follow_backbone(dict(backbone={}, head=dict(type='MobileNetV3ClsHead')))[
    'head'
]


@MODELS.register_module()
class MobileNetV3ClsHead(ClsHead):
    """A hidden 1×1 with bias and no normalisation, its activation, and the logits.

    After pooling a 1×1 convolution and a linear layer are the same. Takes what
    ``MobileNetV3()`` and mmpretrain's ``GlobalAveragePooling`` give.

    Args:
        num_classes: Classes.
        in_channels: Channels of the last feature map.
        hidden_channels: Channels between: 1280 (Large) or 1024 (Small) at every width;
            None for networks whose logits follow pooling (EdgeTPU, V1, V2, MnasNet).
        act: Activation of the hidden layer, one of ``mmnv3.arch.spec.ACTIVATIONS``.
        dropout_ratio: Before the logits; the paper's 0.8 is the probability to keep.
        loss: Cross-entropy by default.
        init_cfg: Initialisation; N(0, 0.01) by default.
        **kwargs: Others of mmpretrain's ``ClsHead``, as ``topk``.
    """

    def __init__(
        self,
        num_classes: int = 1000,
        in_channels: int = _DEFAULTS['in_channels'],
        hidden_channels: int | None = _DEFAULTS['hidden_channels'],
        act: str = _DEFAULTS['act'],
        dropout_ratio: float = 0.2,
        loss: dict | None = None,
        init_cfg: dict | list[dict] | None = None,
        **kwargs: object,
    ) -> None:
        check_count('num_classes', num_classes)
        check_count('in_channels', in_channels)
        if hidden_channels is not None:
            check_count('hidden_channels', hidden_channels)
        if dropout_ratio != 0:
            check_positive('dropout_ratio', dropout_ratio, 1)
        super().__init__(
            # With the prefix it is found under any default scope.
            loss=loss or dict(type='mmpretrain.CrossEntropyLoss'),
            init_cfg=init_cfg or dict(type='Normal', layer='Linear', std=0.01),
            **kwargs,
        )
        self.num_classes = num_classes
        self.hidden = (
            nn.Linear(in_channels, hidden_channels) if hidden_channels else None
        )
        self.act = build_act(act)
        self.dropout = nn.Dropout(dropout_ratio)
        self.fc = nn.Linear(hidden_channels or in_channels, num_classes)

    def pre_logits(self, feats: tuple[Tensor, ...]) -> Tensor:
        """Maps the last of (N, in_channels) features to what the logits see."""
        x = feats[-1]
        return x if self.hidden is None else self.act(self.hidden(x))

    def forward(self, feats: tuple[Tensor, ...]) -> Tensor:
        """Maps the last of (N, in_channels) features to (N, num_classes) logits."""
        return self.fc(self.dropout(self.pre_logits(feats)))
