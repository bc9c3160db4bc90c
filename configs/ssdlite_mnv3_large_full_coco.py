"""MobileNetV3-Large with the classifier's whole tail (Table 6, V3 without a dagger)."""

_base_ = ['ssdlite_mnv3_large_coco.py']

model = dict(
    backbone=dict(tail=None),
    neck=dict(in_channels=(672, 960)),
    bbox_head=dict(in_channels=(672, 960, 512, 256, 256, 128)),
)
