"""MobileNetV3-Small 1.0 on ImageNet, the paper's recipe (Table 3)."""

_base_ = ['mnv3_large_imagenet.py']

from mmnv3.arch import follow_backbone

model = follow_backbone(_base_.model, backbone=dict(arch='small'))
