"""MobileNetV3-Small with the classifier's whole tail (Table 6, V3-Small)."""

_base_ = ['ssdlite_mnv3_small_coco.py']

from mmnv3.arch import follow_backbone

model = follow_backbone(_base_.model, backbone=dict(tail=None))
