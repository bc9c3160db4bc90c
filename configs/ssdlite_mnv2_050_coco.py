"""A comparator of Table 6: V2 0.5, trained as MobileNetV3-Large."""

_base_ = ['ssdlite_mnv3_large_coco.py']

from mmnv3.arch import follow_backbone

model = follow_backbone(
    _base_.model, backbone=dict(arch='v2', width=0.5), neck=dict(width=0.5)
)
