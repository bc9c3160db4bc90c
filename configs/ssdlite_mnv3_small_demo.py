"""The generated set (tools/demo_data.py): a detector in minutes, on a CPU."""

_base_ = [
    '_base_/ssdlite_mnv3_small.py',
    '_base_/coco_320.py',
    '_base_/schedule_short.py',
    '_base_/runtime_det.py',
]

data_root = 'work_dirs/demo_data/'
metainfo = dict(
    classes=('disc', 'ring', 'square', 'triangle', 'star', 'cross'),
    palette=[
        (230, 75, 60),
        (60, 140, 230),
        (70, 180, 95),
        (240, 180, 40),
        (155, 90, 200),
        (35, 185, 185),
    ],
)
max_iters = 840

model = dict(
    # Not padding as TensorFlow does saves training the copies that it takes.
    backbone=dict(padding='symmetric'),
    neck=dict(padding='symmetric'),
    bbox_head=dict(num_classes=6),
    test_cfg=dict(score_thr=0.01),
)
train_dataloader = dict(
    dataset=dict(
        data_root=data_root,
        ann_file='annotations/instances_train.json',
        data_prefix=dict(img='leftImg8bit/train/'),
        metainfo=metainfo,
    ),
)
val_dataloader = dict(
    dataset=dict(
        data_root=data_root,
        ann_file='annotations/instances_val.json',
        data_prefix=dict(img='leftImg8bit/val/'),
        metainfo=metainfo,
    ),
)
test_dataloader = val_dataloader
val_evaluator = dict(ann_file=data_root + 'annotations/instances_val.json')
test_evaluator = val_evaluator

train_cfg = dict(type='IterBasedTrainLoop', max_iters=max_iters, val_interval=420)
default_hooks = dict(checkpoint=dict(interval=420), visualization=dict(score_thr=0.45))
optim_wrapper = dict(optimizer=dict(lr=0.1))
param_scheduler = [
    dict(type='LinearLR', start_factor=0.1, by_epoch=False, begin=0, end=50),
    dict(
        type='CosineAnnealingLR',
        by_epoch=False,
        begin=50,
        end=max_iters,
        T_max=max_iters - 50,
        eta_min=0,
    ),
]
