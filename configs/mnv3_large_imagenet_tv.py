"""MobileNetV3-Large 1.0 on ImageNet, torchvision's recipe and network.

torchvision pads symmetrically and normalises by ImageNet's mean; it augments by
AutoAugment and random erasing, and does not smooth labels.
"""

_base_ = [
    '_base_/mnv3_large.py',
    '_base_/imagenet_224.py',
    '_base_/schedule_tv_rmsprop.py',
    '_base_/runtime_cls.py',
]

mean = [123.675, 116.28, 103.53]
std = [58.395, 57.12, 57.375]

model = dict(
    data_preprocessor=dict(mean=mean, std=std),
    backbone=dict(padding='symmetric'),
    head=dict(loss=dict(_delete_=True, type='CrossEntropyLoss')),
)
train_pipeline = [
    dict(type='LoadImageFromFile'),
    dict(type='RandomResizedCrop', scale=224),
    dict(type='RandomFlip', prob=0.5),
    dict(
        type='AutoAugment',
        policies='imagenet',
        hparams=dict(pad_val=[round(value) for value in mean[::-1]]),
    ),
    dict(
        type='RandomErasing',
        erase_prob=0.2,
        mode='const',
        min_area_ratio=0.02,
        max_area_ratio=1 / 3,
        fill_color=mean[::-1],
    ),
    dict(type='PackInputs'),
]
train_dataloader = dict(dataset=dict(pipeline=train_pipeline))
