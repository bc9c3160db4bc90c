"""R-ASPP on V3-Large with the classifier's tail (Table 7, row 5)."""

_base_ = ['raspp_mnv3_large_cityscapes.py']

from mmnv3.arch import follow_backbone

model = follow_backbone(_base_.model, backbone=dict(tail=None))
