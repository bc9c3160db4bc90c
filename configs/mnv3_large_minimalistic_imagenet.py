"""MobileNetV3-Large without SE, h-swish and 5x5 kernels, on ImageNet."""

_base_ = ['mnv3_large_imagenet.py']

model = dict(
    backbone=dict(arch='large_minimalistic'),
    head=dict(act='relu'),
)
