"""SSDLite with MobileNetV3-Small, otherwise as Large."""

_base_ = ['ssdlite_mnv3_large.py']

model = dict(
    backbone=dict(arch='small'),
    neck=dict(in_channels=(288, 288)),
    bbox_head=dict(in_channels=(288, 288, 512, 256, 256, 128)),
)
