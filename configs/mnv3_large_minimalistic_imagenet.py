"""MobileNetV3-Large without SE, h-swish and 5x5 kernels, on ImageNet."""

_base_ = ['mnv3_large_imagenet.py']

from mmnv3.arch import follow_backbone

model = follow_backbone(_base_.model, backbone=dict(arch='large_minimalistic'))
