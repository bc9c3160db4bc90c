"""timm's mobilenetv3_large_100: for its weights, as timm://mobilenetv3_large_100.

Its batch normalisation has another eps than torchvision's, and its pictures are resized
bicubically.
"""

_base_ = ['mnv3_large_imagenet_tv.py']

model = dict(backbone=dict(norm_cfg=dict(type='BN', eps=1e-5, momentum=0.01)))
test_pipeline = [
    dict(type='LoadImageFromFile'),
    dict(
        type='ResizeEdge',
        scale=256,
        edge='short',
        backend='pillow',
        interpolation='bicubic',
    ),
    dict(type='CenterCrop', crop_size=224),
    dict(type='PackInputs'),
]
tta_pipeline = [*test_pipeline[:-1], _base_.tta_pipeline[-1]]
val_dataloader = dict(dataset=dict(pipeline=test_pipeline))
test_dataloader = val_dataloader
