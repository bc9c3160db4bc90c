"""A comparator of Table 6: MnasNet 0.35, trained as MobileNetV3-Large."""

_base_ = ['ssdlite_mnv3_large_coco.py']

model = dict(
    backbone=dict(arch='mnasnet_a1', width=0.35),
    neck=dict(in_channels=(240, 448), width=0.35),
    bbox_head=dict(in_channels=(240, 448, 179, 89, 89, 44)),
)
