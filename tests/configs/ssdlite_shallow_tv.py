"""torchvision's recipe on five blocks and three levels."""

_base_ = ['../../configs/ssdlite_mnv3_large_coco_tv.py']

from mmnv3.arch import follow_backbone

model = follow_backbone(
    _base_.model,
    backbone=dict(arch='{{ fileDirname }}/shallow.json'),
    neck=dict(extra_channels=(128,)),
    bbox_head=dict(anchor_generator=dict(num_levels=3)),
)
