"""torchvision's lraspp_mobilenet_v3_large with its published weights.

They know Pascal VOC's 21 classes: torchvision://lraspp_mobilenet_v3_large.
"""

_base_ = ['lraspp_mnv3_large_cityscapes_tv.py']

data_preprocessor = dict(mean=[123.675, 116.28, 103.53], std=[58.395, 57.12, 57.375])
model = dict(data_preprocessor=data_preprocessor, decode_head=dict(num_classes=21))

# fmt: off
classes = (
    'background', 'aeroplane', 'bicycle', 'bird', 'boat', 'bottle', 'bus', 'car', 'cat',
    'chair', 'cow', 'diningtable', 'dog', 'horse', 'motorbike', 'person', 'pottedplant',
    'sheep', 'sofa', 'train', 'tvmonitor',
)
# fmt: on
train_dataloader = dict(
    dataset=dict(
        type='mmnv3.CheckedSegDataset',
        data_root='data/VOCdevkit/VOC2012',
        ann_file='ImageSets/Segmentation/train.txt',
        data_prefix=dict(img_path='JPEGImages', seg_map_path='SegmentationClass'),
        img_suffix='.jpg',
        seg_map_suffix='.png',
        metainfo=dict(classes=classes),
    )
)
val_dataloader = dict(
    dataset=dict(
        **train_dataloader['dataset'] | dict(ann_file='ImageSets/Segmentation/val.txt')
    )
)
test_dataloader = val_dataloader
