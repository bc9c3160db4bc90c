"""SSDLite with MobileNetV3-Large, as the paper's pipeline config has it.

Source: Object Detection API ssdlite_mobilenet_v3_large_320x320_coco.config.
"""

# Without it the import would make this a config of mmengine's lazy kind.
_base_ = []

from mmnv3.arch import follow_backbone

norm_cfg = dict(type='BN', eps=0.001, momentum=0.03)

model = follow_backbone(
    dict(
        type='SingleStageDetector',
        # Input in [-1, 1], RGB.
        data_preprocessor=dict(
            type='DetDataPreprocessor',
            mean=[127.5, 127.5, 127.5],
            std=[127.5, 127.5, 127.5],
            bgr_to_rgb=True,
        ),
        backbone=dict(
            type='mmnv3.MobileNetV3',
            arch='large',
            tail='detection',
            out_taps=('C4', 'C5'),
            norm_cfg=norm_cfg,
            init_cfg=dict(type='TruncNormal', layer='Conv2d', std=0.03),
        ),
        neck=dict(type='mmnv3.SSDLiteNeck', norm_cfg=norm_cfg),
        bbox_head=dict(
            type='mmnv3.SSDLiteHead',
            num_classes=80,
            anchor_generator=dict(
                type='mmnv3.SSDLiteAnchorGenerator',
                layout='tensorflow',
                input_size=320,
            ),
            loss_cls=dict(type='mmnv3.SigmoidFocalLoss', alpha=0.75, gamma=2.0),
            norm_cfg=norm_cfg,
        ),
        train_cfg=dict(
            assigner=dict(
                type='MaxIoUAssigner',
                pos_iou_thr=0.5,
                neg_iou_thr=0.5,
                min_pos_iou=0.0,
                ignore_iof_thr=-1,
                gt_max_assign_all=False,
            ),
            sampler=dict(type='PseudoSampler'),
            allowed_border=-1,
            pos_weight=-1,
        ),
        test_cfg=dict(
            nms=dict(type='nms', iou_threshold=0.6),
            score_thr=1e-8,
            max_per_img=100,
            clip_after_nms=True,
        ),
    )
)
