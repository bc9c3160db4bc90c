"""MobileNetV3-Small without SE, h-swish and 5x5 kernels, on ImageNet."""

_base_ = ['mnv3_small_imagenet.py']

model = dict(
    backbone=dict(arch='small_minimalistic'),
    head=dict(act='relu'),
)
