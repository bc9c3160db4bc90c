"""R-ASPP on MobileNetV3-Large, tail halved: what LR-ASPP replaces (Table 7, row 6)."""

_base_ = 'lraspp_mnv3_large.py'

from mmnv3.arch import follow_backbone

model = follow_backbone(
    _base_.model,
    backbone=dict(out_taps=('C5',)),
    decode_head=dict(
        _delete_=True,
        type='mmnv3.RASPPHead',
        num_classes=19,
        channels=256,
        norm_cfg=dict(type='BN', eps=1e-5, momentum=0.1),
        loss_decode=dict(type='CrossEntropyLoss', loss_weight=1.0),
    ),
)
