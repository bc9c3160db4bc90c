"""mmseg's own MobileNetV3 and LRASPPHead, for comparison, trained as ours.

The model is that of mmseg's mobilenet-v3-d8-scratch_lraspp config, with BN for SyncBN,
which needs GPUs, and a momentum as ours.
"""

_base_ = [
    '_base_/cityscapes_769.py',
    '_base_/schedule_poly_90k.py',
    '_base_/runtime_seg.py',
]

norm_cfg = dict(type='BN', eps=0.001, momentum=0.1)

data_preprocessor = dict(
    type='SegDataPreProcessor',
    mean=[123.675, 116.28, 103.53],
    std=[58.395, 57.12, 57.375],
    bgr_to_rgb=True,
    pad_val=0,
    seg_pad_val=255,
    size=(769, 769),
)

model = dict(
    type='EncoderDecoder',
    data_preprocessor=data_preprocessor,
    backbone=dict(
        type='MobileNetV3', arch='large', out_indices=(1, 3, 16), norm_cfg=norm_cfg
    ),
    decode_head=dict(
        type='LRASPPHead',
        in_channels=(16, 24, 960),
        in_index=(0, 1, 2),
        channels=128,
        input_transform='multiple_select',
        dropout_ratio=0.1,
        num_classes=19,
        norm_cfg=norm_cfg,
        align_corners=False,
        loss_decode=dict(type='CrossEntropyLoss', loss_weight=1.0),
    ),
    train_cfg=dict(),
    test_cfg=dict(mode='whole'),
)
