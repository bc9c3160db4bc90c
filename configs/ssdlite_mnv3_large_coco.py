"""The paper's detector: SSDLite with MobileNetV3-Large, tail halved (Table 6, V3†)."""

_base_ = [
    '_base_/ssdlite_mnv3_large.py',
    '_base_/coco_320.py',
    '_base_/schedule_tf_400k.py',
    '_base_/runtime_det.py',
]
