"""R-ASPP on V2 as it is (Table 7, row 1)."""

_base_ = ['raspp_mnv2_cityscapes.py']

from mmnv3.arch import follow_backbone

model = follow_backbone(_base_.model, backbone=dict(tail=None))
