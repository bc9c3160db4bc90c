"""torchvision's recipe on a network of five blocks."""

_base_ = ['../../configs/ssdlite_mnv3_large_coco_tv.py']

from mmnv3.arch import follow_backbone

model = follow_backbone(
    _base_.model, backbone=dict(arch='{{ fileDirname }}/shallow.json')
)
