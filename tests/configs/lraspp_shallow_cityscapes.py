"""Cityscapes' segmenter on a network of five blocks."""

_base_ = ['../../configs/lraspp_mnv3_small_cityscapes.py']

from mmnv3.arch import follow_backbone

model = follow_backbone(
    _base_.model,
    backbone=dict(
        arch='{{ fileDirname }}/shallow.json', out_taps=('block2.depthwise', 'C5')
    ),
)
