"""LR-ASPP on V3-Small without dilation (Table 8, output stride 32)."""

_base_ = ['lraspp_mnv3_small_cityscapes.py']

from mmnv3.arch import follow_backbone

model = follow_backbone(_base_.model, backbone=dict(output_stride=32))
