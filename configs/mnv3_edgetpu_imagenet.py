"""MobileNet-EdgeTPU 1.0 on ImageNet; its logits follow pooling."""

_base_ = ['mnv3_large_imagenet.py']

model = dict(
    backbone=dict(arch='edgetpu'),
    head=dict(in_channels=1280, hidden_channels=None),
)
