"""MobileNetV3-Large 1.0 on ImageNet, the paper's recipe (Table 3)."""

_base_ = [
    '_base_/mnv3_large.py',
    '_base_/imagenet_224.py',
    '_base_/schedule_tf_rmsprop.py',
    '_base_/runtime_cls.py',
]

custom_hooks = [*_base_.custom_hooks, _base_.weight_average]
