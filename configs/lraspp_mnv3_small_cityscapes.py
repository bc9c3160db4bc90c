"""LR-ASPP on V3-Small, tail halved (Table 7, row 11)."""

_base_ = ['lraspp_mnv3_large_cityscapes.py']

from mmnv3.arch import follow_backbone

model = follow_backbone(
    _base_.model, backbone=dict(arch='small', out_taps=('block3.depthwise', 'C5'))
)
