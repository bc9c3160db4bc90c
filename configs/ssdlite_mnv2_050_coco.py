"""A comparator of Table 6: V2 0.5, trained as MobileNetV3-Large."""

_base_ = ['ssdlite_mnv3_large_coco.py']

model = dict(
    backbone=dict(arch='v2', width=0.5),
    neck=dict(in_channels=(288, 640), width=0.5),
    bbox_head=dict(in_channels=(288, 640, 256, 128, 128, 64)),
)
