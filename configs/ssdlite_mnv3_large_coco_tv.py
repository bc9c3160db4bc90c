"""torchvision's recipe for SSDLite with MobileNetV3-Large.

Softmax with hard negatives, six anchors on every level, 660 epochs of 8 x 24 images.
Source: torchvision references/detection/README.md and models/detection/ssdlite.py.
torchvision pads symmetrically, and crops by IoU as mmdet does.
"""

_base_ = [
    '_base_/ssdlite_mnv3_large.py',
    '_base_/coco_320.py',
    '_base_/runtime_det.py',
]

images_per_step = 8 * 24
iters_per_step = max(1, images_per_step // (24 * int('{{$WORLD_SIZE:1}}')))
# train2017 has 117 266 images with objects.
max_iters = 660 * 117_266 // images_per_step * iters_per_step
warmup_iters = 1_000 * iters_per_step

normal = dict(type='Normal', layer='Conv2d', std=0.03)
model = dict(
    backbone=dict(padding='symmetric', init_cfg=dict(_delete_=True, **normal)),
    neck=dict(padding='symmetric', init_cfg=normal),
    bbox_head=dict(
        anchor_generator=dict(layout='torchvision'),
        loss_cls=None,
    ),
    train_cfg=dict(neg_pos_ratio=3, smoothl1_beta=1.0),
    test_cfg=dict(
        nms=dict(type='nms', iou_threshold=0.55),
        nms_pre_per_class=300,
        score_thr=0.001,
        max_per_img=300,
        clip_after_nms=False,
    ),
)
tta_model = dict(tta_cfg=dict(nms=dict(iou_threshold=0.55), max_per_img=300))
train_dataloader = dict(batch_size=24)

train_cfg = dict(
    type='IterBasedTrainLoop', max_iters=max_iters, val_interval=max_iters // 66
)
val_cfg = dict(type='ValLoop')
test_cfg = dict(type='TestLoop')
optim_wrapper = dict(
    type='OptimWrapper',
    optimizer=dict(type='SGD', lr=0.15, momentum=0.9, weight_decay=4e-5),
)
param_scheduler = [
    dict(
        type='LinearLR', start_factor=0.001, by_epoch=False, begin=0, end=warmup_iters
    ),
    dict(
        type='CosineAnnealingLR',
        by_epoch=False,
        begin=0,
        end=max_iters,
        T_max=max_iters,
        eta_min=0,
    ),
]
auto_scale_lr = dict(enable=True, base_batch_size=images_per_step)
