"""The generated set (tools/demo_data.py): a segmenter in minutes, on a CPU."""

_base_ = [
    '_base_/lraspp_mnv3_large.py',
    '_base_/cityscapes_769.py',
    '_base_/schedule_short.py',
    '_base_/runtime_seg.py',
]

from mmnv3.arch import follow_backbone

data_root = 'work_dirs/demo_data/'
metainfo = dict(
    classes=(
        'background',
        'disc',
        'ring',
        'square',
        'triangle',
        'star',
        'cross',
    ),
    palette=[
        (60, 60, 60),
        (230, 75, 60),
        (60, 140, 230),
        (70, 180, 95),
        (240, 180, 40),
        (155, 90, 200),
        (35, 185, 185),
    ],
)
crop_size = (257, 257)
max_iters = 1600

model = follow_backbone(
    _base_.model,
    data_preprocessor=dict(size=crop_size),
    # Not padding as TensorFlow does saves training the copies that it takes.
    backbone=dict(
        arch='small', padding='symmetric', out_taps=('block3.depthwise', 'C5')
    ),
    decode_head=dict(num_classes=7),
)
train_pipeline = [
    dict(type='LoadImageFromFile'),
    dict(type='LoadAnnotations'),
    dict(type='RandomCrop', crop_size=crop_size),
    dict(type='RandomFlip', prob=0.5),
    dict(type='PackSegInputs'),
]
dataset = dict(
    _delete_=True,
    type='mmnv3.CheckedSegDataset',
    data_root=data_root,
    img_suffix='_leftImg8bit.jpg',
    seg_map_suffix='_gtFine_labelTrainIds.png',
    metainfo=metainfo,
)
train_dataloader = dict(
    batch_size=8,
    dataset=dict(
        data_prefix=dict(img_path='leftImg8bit/train', seg_map_path='gtFine/train'),
        pipeline=train_pipeline,
        **dataset,
    ),
)
val_dataloader = dict(
    dataset=dict(
        data_prefix=dict(img_path='leftImg8bit/val', seg_map_path='gtFine/val'),
        test_mode=True,
        pipeline=_base_.test_pipeline,
        **dataset,
    ),
)
test_dataloader = val_dataloader

auto_scale_lr = dict(base_batch_size=8)
train_cfg = dict(type='IterBasedTrainLoop', max_iters=max_iters, val_interval=800)
default_hooks = dict(checkpoint=dict(interval=800))
optim_wrapper = dict(optimizer=dict(lr=0.1))
param_scheduler = [
    dict(type='LinearLR', start_factor=0.1, by_epoch=False, begin=0, end=50),
    dict(type='PolyLR', power=0.9, eta_min=0, by_epoch=False, begin=0, end=max_iters),
]
