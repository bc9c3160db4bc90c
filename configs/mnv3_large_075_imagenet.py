"""MobileNetV3-Large 0.75 on ImageNet (Table 3)."""

_base_ = ['mnv3_large_imagenet.py']

from mmnv3.arch import follow_backbone

model = follow_backbone(_base_.model, backbone=dict(width=0.75))
