"""The demo's detector on a network of five blocks, which is exported in a third."""

_base_ = ['../../configs/ssdlite_mnv3_small_demo.py']

from mmnv3.arch import follow_backbone

model = follow_backbone(
    _base_.model, backbone=dict(arch='{{ fileDirname }}/shallow.json')
)
