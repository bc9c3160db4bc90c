"""torchvision's lraspp_mobilenet_v3_large with its published weights.

They know Pascal VOC's 21 classes: torchvision://lraspp_mobilenet_v3_large.
"""

_base_ = ['lraspp_mnv3_large_cityscapes_tv.py']

model = dict(
    data_preprocessor=dict(mean=[123.675, 116.28, 103.53], std=[58.395, 57.12, 57.375]),
    decode_head=dict(num_classes=21),
)

dataset = dict(
    _delete_=True,
    type='PascalVOCDataset',
    data_root='data/VOCdevkit/VOC2012',
    data_prefix=dict(img_path='JPEGImages', seg_map_path='SegmentationClass'),
)
train_dataloader = dict(
    dataset=dict(
        ann_file='ImageSets/Segmentation/train.txt',
        pipeline=_base_.train_pipeline,
        **dataset,
    )
)
val_dataloader = dict(
    dataset=dict(
        ann_file='ImageSets/Segmentation/val.txt',
        pipeline=_base_.test_pipeline,
        test_mode=True,
        **dataset,
    )
)
test_dataloader = val_dataloader
