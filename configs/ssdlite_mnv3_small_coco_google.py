"""The detector that Google published, V3-Small: for its converted weights.

Source: ssd_mobilenet_v3_small_coco_2020_01_14 of the TensorFlow detection model zoo.
"""

_base_ = ['ssdlite_mnv3_large_coco_google.py']

from mmnv3.arch import follow_backbone

model = follow_backbone(_base_.model, backbone=dict(arch='small'))
