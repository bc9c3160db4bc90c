"""MobileNetV3-Small 1.0 on ImageNet, the paper's recipe (Table 3)."""

_base_ = ['mnv3_large_imagenet.py']

model = dict(
    backbone=dict(arch='small'),
    head=dict(in_channels=576, hidden_channels=1024),
)
