"""MobileNetV3-Large with the classifier's whole tail (Table 6, V3 without a dagger)."""

_base_ = ['ssdlite_mnv3_large_coco.py']

from mmnv3.arch import follow_backbone

model = follow_backbone(_base_.model, backbone=dict(tail=None))
