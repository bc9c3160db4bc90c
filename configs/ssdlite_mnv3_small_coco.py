"""The paper's small detector: MobileNetV3-Small, tail halved (Table 6, V3-Small†)."""

_base_ = [
    '_base_/ssdlite_mnv3_small.py',
    '_base_/coco_320.py',
    '_base_/schedule_tf_400k.py',
    '_base_/runtime_det.py',
]

# Its pipeline config differs from Large's in the number of steps alone.
max_iters = 800_000 * _base_.iters_per_step
warmup_iters = 2_000 * _base_.iters_per_step

train_cfg = dict(max_iters=max_iters, val_interval=max_iters // 80)
param_scheduler = [
    dict(
        type='LinearLR',
        start_factor=0.13333 / 0.4,
        by_epoch=False,
        begin=0,
        end=warmup_iters,
    ),
    dict(
        type='CosineAnnealingLR',
        by_epoch=False,
        begin=warmup_iters,
        end=max_iters,
        T_max=max_iters - warmup_iters,
        eta_min=0,
    ),
]
