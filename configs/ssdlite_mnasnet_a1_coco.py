"""A comparator of Table 6: MnasNet, trained as MobileNetV3-Large."""

_base_ = ['ssdlite_mnv3_large_coco.py']

model = dict(
    backbone=dict(arch='mnasnet_a1'),
    neck=dict(in_channels=(672, 1280)),
    bbox_head=dict(in_channels=(672, 1280, 512, 256, 256, 128)),
)
