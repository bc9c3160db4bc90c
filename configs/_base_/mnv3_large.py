"""The MobileNetV3-Large classifier with the efficient last stage (Section 5.1)."""

# Without it the import would make this a config of mmengine's lazy kind.
_base_ = []

from mmnv3.arch import follow_backbone

model = follow_backbone(
    dict(
        type='ImageClassifier',
        # Input in [-1, 1], RGB.
        data_preprocessor=dict(
            type='ClsDataPreprocessor',
            mean=[127.5, 127.5, 127.5],
            std=[127.5, 127.5, 127.5],
            to_rgb=True,
            num_classes=1000,
        ),
        backbone=dict(
            type='mmnv3.MobileNetV3',
            arch='large',
            width=1.0,
            norm_cfg=dict(type='BN', eps=0.001, momentum=0.01),
        ),
        neck=dict(type='GlobalAveragePooling'),
        head=dict(
            type='mmnv3.MobileNetV3ClsHead',
            num_classes=1000,
            dropout_ratio=0.2,
            loss=dict(type='LabelSmoothLoss', label_smooth_val=0.1, num_classes=1000),
            topk=(1, 5),
        ),
    )
)
