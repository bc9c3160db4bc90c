"""A comparator of Table 6: MnasNet 0.5, trained as MobileNetV3-Large."""

_base_ = ['ssdlite_mnv3_large_coco.py']

model = dict(
    backbone=dict(arch='mnasnet_a1', width=0.5),
    neck=dict(in_channels=(336, 640), width=0.5),
    bbox_head=dict(in_channels=(336, 640, 256, 128, 128, 64)),
)
