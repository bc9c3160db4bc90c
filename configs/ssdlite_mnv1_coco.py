"""A comparator of Table 6: V1, trained as MobileNetV3-Large."""

_base_ = ['ssdlite_mnv3_large_coco.py']

model = dict(
    backbone=dict(arch='v1'),
    neck=dict(in_channels=(512, 1024)),
    bbox_head=dict(in_channels=(512, 1024, 512, 256, 256, 128)),
)
