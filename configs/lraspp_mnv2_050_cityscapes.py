"""LR-ASPP on V2 0.5, tail halved (Table 7, row 9)."""

_base_ = ['lraspp_mnv2_cityscapes.py']

from mmnv3.arch import follow_backbone

model = follow_backbone(_base_.model, backbone=dict(width=0.5))
