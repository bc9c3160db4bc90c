"""MobileNetV3-Small 0.75 on ImageNet (Table 3)."""

_base_ = ['mnv3_small_imagenet.py']

from mmnv3.arch import follow_backbone

model = follow_backbone(_base_.model, backbone=dict(width=0.75))
