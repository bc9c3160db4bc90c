"""ImageNet's classifier on a network of five blocks."""

_base_ = ['../../configs/mnv3_small_imagenet.py']

from mmnv3.arch import follow_backbone

model = follow_backbone(
    _base_.model, backbone=dict(arch='{{ fileDirname }}/shallow.json')
)
