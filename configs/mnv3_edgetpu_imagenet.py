"""MobileNet-EdgeTPU 1.0 on ImageNet; its logits follow pooling."""

_base_ = ['mnv3_large_imagenet.py']

from mmnv3.arch import follow_backbone

model = follow_backbone(_base_.model, backbone=dict(arch='edgetpu'))
