"""MobileNetV3-Small 1.0 on ImageNet, torchvision's recipe and network."""

_base_ = ['mnv3_large_imagenet_tv.py']

model = dict(
    backbone=dict(arch='small'),
    head=dict(in_channels=576, hidden_channels=1024),
)
