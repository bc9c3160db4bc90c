"""MobileNetV3-Small 1.0 on ImageNet, torchvision's recipe and network."""

_base_ = ['mnv3_large_imagenet_tv.py']

from mmnv3.arch import follow_backbone

model = follow_backbone(_base_.model, backbone=dict(arch='small'))
