"""ImageNet at 224 pixels with slim's Inception augmentation, in its fast colour mode.

slim asks the crop to hold a tenth of the object's box, and mmpretrain has no boxes.
"""

dataset_type = 'mmnv3.CheckedImageNet'
data_root = 'data/imagenet'

train_pipeline = [
    dict(type='LoadImageFromFile'),
    dict(
        type='RandomResizedCrop',
        scale=224,
        crop_ratio_range=(0.05, 1.0),
        aspect_ratio_range=(0.75, 1.33),
        max_attempts=100,
    ),
    dict(type='RandomFlip', prob=0.5),
    dict(type='ColorJitter', brightness=32 / 255, saturation=0.5),
    dict(type='PackInputs'),
]
# The middle 0.875 of the short side.
test_pipeline = [
    dict(type='LoadImageFromFile'),
    dict(type='ResizeEdge', scale=256, edge='short'),
    dict(type='CenterCrop', crop_size=224),
    dict(type='PackInputs'),
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

# 32 processes of 128 make the paper's batch of 4096.
train_dataloader = dict(
    batch_size=128,
    num_workers=2,
    persistent_workers=True,
    drop_last=True,
    sampler=dict(type='DefaultSampler', shuffle=True),
    dataset=dict(
        type=dataset_type, data_root=data_root, split='train', pipeline=train_pipeline
    ),
)
val_dataloader = dict(
    batch_size=64,
    num_workers=2,
    persistent_workers=True,
    sampler=dict(type='DefaultSampler', shuffle=False),
    dataset=dict(
        type=dataset_type,
        data_root=data_root,
        split='val',
        test_mode=True,
        pipeline=test_pipeline,
    ),
)
test_dataloader = val_dataloader

val_evaluator = dict(type='Accuracy', topk=(1, 5))
test_evaluator = val_evaluator
