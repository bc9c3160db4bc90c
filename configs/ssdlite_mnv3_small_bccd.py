"""Blood cells: a small real data set, trained from scratch on a CPU in half an hour."""

_base_ = [
    '_base_/ssdlite_mnv3_small.py',
    '_base_/coco_320.py',
    '_base_/schedule_short.py',
    '_base_/runtime_det.py',
]

data_root = 'data/bccd/'
metainfo = dict(
    classes=('RBC', 'WBC', 'Platelets'),
    palette=[(220, 20, 60), (60, 90, 220), (240, 180, 30)],
)
# The pictures' own aspect, 3/4 of their size: platelets are small.
input_size = (480, 360)
max_iters = 3000

model = dict(
    bbox_head=dict(
        num_classes=3,
        anchor_generator=dict(input_size=input_size),
    ),
    test_cfg=dict(score_thr=0.01, nms=dict(iou_threshold=0.5)),
)
train_pipeline = [
    dict(type='LoadImageFromFile'),
    dict(type='LoadAnnotations', with_bbox=True),
    # Cells have no up and no down.
    dict(
        type='RandomFlip',
        prob=[0.25, 0.25, 0.25],
        direction=['horizontal', 'vertical', 'diagonal'],
    ),
    # Without `min_ious`: no crop has an IoU of 0.1 with each of a picture's cells, and
    # to look for one in vain takes 13 ms.
    dict(type='MinIoURandomCrop', min_ious=(), min_crop_size=0.5),
    dict(type='Resize', scale=input_size, keep_ratio=False),
    dict(
        type='PhotoMetricDistortion',
        brightness_delta=24,
        contrast_range=(0.8, 1.2),
        saturation_range=(0.8, 1.2),
        hue_delta=8,
    ),
    dict(type='FilterAnnotations', min_gt_bbox_wh=(1, 1)),
    dict(type='PackDetInputs'),
]
test_pipeline = [
    dict(type='LoadImageFromFile'),
    dict(type='Resize', scale=input_size, keep_ratio=False),
    dict(type='LoadAnnotations', with_bbox=True),
    dict(
        type='PackDetInputs',
        meta_keys=('img_id', 'img_path', 'ori_shape', 'img_shape', 'scale_factor'),
    ),
]
tta_pipeline = [*test_pipeline[:-1], _base_.tta_pipeline[-1]]
train_dataloader = dict(
    dataset=dict(
        data_root=data_root,
        ann_file='annotations/train.json',
        data_prefix=dict(img='images/'),
        metainfo=metainfo,
        pipeline=train_pipeline,
    ),
)
val_dataloader = dict(
    dataset=dict(
        data_root=data_root,
        ann_file='annotations/val.json',
        data_prefix=dict(img='images/'),
        metainfo=metainfo,
        pipeline=test_pipeline,
    ),
)
test_dataloader = val_dataloader
val_evaluator = dict(ann_file=data_root + 'annotations/val.json')
test_evaluator = val_evaluator

tta_model = dict(tta_cfg=dict(nms=dict(iou_threshold=0.5)))
train_cfg = dict(type='IterBasedTrainLoop', max_iters=max_iters, val_interval=500)
param_scheduler = [
    dict(type='LinearLR', start_factor=0.1, by_epoch=False, begin=0, end=100),
    dict(
        type='CosineAnnealingLR',
        by_epoch=False,
        begin=100,
        end=max_iters,
        T_max=max_iters - 100,
        eta_min=0,
    ),
]
