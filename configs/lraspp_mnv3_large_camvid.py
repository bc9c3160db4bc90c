"""CamVid's 11 classes, from scratch on a CPU in half an hour.

The data are expected in Cityscapes' layout and with its class numbers; those of its
classes that CamVid does not have are left out.
"""

_base_ = [
    '_base_/lraspp_mnv3_large.py',
    '_base_/cityscapes_769.py',
    '_base_/schedule_short.py',
    '_base_/runtime_seg.py',
]

metainfo = dict(
    classes=(
        'road',
        'sidewalk',
        'building',
        'fence',
        'pole',
        'traffic sign',
        'vegetation',
        'sky',
        'person',
        'rider',
        'car',
    ),
)
# A little more than the pictures' 480x360, so that a crop keeps most of one.
crop_size = (401, 401)
max_iters = 2600

model = dict(
    data_preprocessor=dict(size=crop_size),
    decode_head=dict(num_classes=11),
)
# The base's, but for the size of the crop.
train_pipeline = [
    *_base_.train_pipeline[:3],
    dict(type='RandomCrop', crop_size=crop_size),
    *_base_.train_pipeline[4:],
]
train_dataloader = dict(
    batch_size=8, dataset=dict(metainfo=metainfo, pipeline=train_pipeline)
)
val_dataloader = dict(dataset=dict(metainfo=metainfo))
test_dataloader = val_dataloader

auto_scale_lr = dict(base_batch_size=8)
train_cfg = dict(type='IterBasedTrainLoop', max_iters=max_iters, val_interval=650)
default_hooks = dict(checkpoint=dict(interval=650))
param_scheduler = [
    dict(type='LinearLR', start_factor=0.1, by_epoch=False, begin=0, end=100),
    dict(type='PolyLR', power=0.9, eta_min=0, by_epoch=False, begin=0, end=max_iters),
]
