"""Cityscapes' segmenter with R-ASPP on a network of five blocks."""

_base_ = ['../../configs/raspp_mnv3_large_cityscapes.py']

from mmnv3.arch import follow_backbone

model = follow_backbone(
    _base_.model, backbone=dict(arch='{{ fileDirname }}/shallow.json', out_taps=('C5',))
)
