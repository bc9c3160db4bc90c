"""LR-ASPP on V2, tail halved (Table 7, row 4)."""

_base_ = ['lraspp_mnv3_large_cityscapes.py']

from mmnv3.arch import follow_backbone

model = follow_backbone(
    _base_.model,
    backbone=dict(arch='v2', out_taps=('block6.depthwise', 'block17')),
)
