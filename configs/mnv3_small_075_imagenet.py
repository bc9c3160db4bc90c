"""MobileNetV3-Small 0.75 on ImageNet (Table 3)."""

_base_ = ['mnv3_small_imagenet.py']

model = dict(
    backbone=dict(width=0.75),
    head=dict(in_channels=432),
)
