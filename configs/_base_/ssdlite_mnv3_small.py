"""SSDLite with MobileNetV3-Small, otherwise as Large."""

_base_ = ['ssdlite_mnv3_large.py']

from mmnv3.arch import follow_backbone

model = follow_backbone(_base_.model, backbone=dict(arch='small'))
