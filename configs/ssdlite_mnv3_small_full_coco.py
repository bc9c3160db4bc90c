"""MobileNetV3-Small with the classifier's whole tail (Table 6, V3-Small)."""

_base_ = ['ssdlite_mnv3_small_coco.py']

model = dict(
    backbone=dict(tail=None),
    neck=dict(in_channels=(288, 576)),
    bbox_head=dict(in_channels=(288, 576, 512, 256, 256, 128)),
)
