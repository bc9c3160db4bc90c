"""Cityscapes with DeepLab's augmentation: scale 0.5 to 2, crop 769, mirror.

The scale is that of the picture's own size, in DeepLab's steps of 0.25; mmseg's
RandomResize would bring every picture to Cityscapes' size first.
"""

dataset_type = 'mmnv3.CheckedCityscapesDataset'
data_root = 'data/cityscapes/'
crop_size = (769, 769)

train_pipeline = [
    dict(type='LoadImageFromFile'),
    dict(type='LoadAnnotations'),
    dict(
        type='RandomChoice',
        transforms=[
            [dict(type='Resize', scale_factor=quarters / 4)] for quarters in range(2, 9)
        ],
    ),
    dict(type='RandomCrop', crop_size=crop_size),
    dict(type='RandomFlip', prob=0.5),
    dict(type='PackSegInputs'),
]
# The picture as it is, in one piece.
test_pipeline = [
    dict(type='LoadImageFromFile'),
    dict(type='LoadAnnotations'),
    dict(type='PackSegInputs'),
]
# With test-time augmentation, which also looks at the mirrored picture.
tta_pipeline = [
    *test_pipeline[:-1],
    dict(
        type='TestTimeAug',
        transforms=[
            [dict(type='RandomFlip', prob=0.0), dict(type='RandomFlip', prob=1.0)],
            [test_pipeline[-1]],
        ],
    ),
]

# Four processes of 4 make DeepLab's batch of 16.
train_dataloader = dict(
    batch_size=4,
    num_workers=2,
    persistent_workers=True,
    # Batch normalisation over a last batch of one would fail.
    drop_last=True,
    sampler=dict(type='InfiniteSampler', shuffle=True),
    dataset=dict(
        type=dataset_type,
        data_root=data_root,
        data_prefix=dict(img_path='leftImg8bit/train', seg_map_path='gtFine/train'),
        pipeline=train_pipeline,
    ),
)
val_dataloader = dict(
    batch_size=1,
    num_workers=2,
    persistent_workers=True,
    sampler=dict(type='DefaultSampler', shuffle=False),
    dataset=dict(
        type=dataset_type,
        data_root=data_root,
        data_prefix=dict(img_path='leftImg8bit/val', seg_map_path='gtFine/val'),
        test_mode=True,
        pipeline=test_pipeline,
    ),
)
test_dataloader = val_dataloader

val_evaluator = dict(type='IoUMetric', iou_metrics=['mIoU'])
test_evaluator = val_evaluator
