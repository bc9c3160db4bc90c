"""What every detection config shares: hooks, logs, seeds."""

default_scope = 'mmdet'
# mmdet's own tools import nothing of ours before they read the config.
custom_imports = dict(imports=['mmnv3'], allow_failed_imports=False)

default_hooks = dict(
    timer=dict(type='IterTimerHook'),
    logger=dict(type='LoggerHook', interval=20, log_metric_by_epoch=False),
    param_scheduler=dict(type='ParamSchedulerHook'),
    checkpoint=dict(
        type='mmnv3.AtomicCheckpointHook',
        interval=2000,
        max_keep_ckpts=3,
        save_best='coco/bbox_mAP',
    ),
    sampler_seed=dict(type='DistSamplerSeedHook'),
    visualization=dict(type='DetVisualizationHook'),
)
custom_hooks = [
    dict(type='mmnv3.ClassCountHook'),
    dict(type='mmnv3.CheckpointFitHook'),
    dict(type='mmnv3.StopAtNaNHook'),
    dict(type='mmnv3.CurvesHook'),
    dict(type='mmnv3.KeepMemoryHook'),
]
# How the detections of a picture and its mirror image are joined.
tta_model = dict(
    type='DetTTAModel',
    tta_cfg=dict(nms=dict(type='nms', iou_threshold=0.6), max_per_img=100),
)
env_cfg = dict(
    cudnn_benchmark=True,
    mp_cfg=dict(mp_start_method='fork', opencv_num_threads=0),
    dist_cfg=dict(backend='nccl'),
)
vis_backends = [dict(type='LocalVisBackend')]
visualizer = dict(
    type='mmnv3.DetectionVisualizer', vis_backends=vis_backends, name='visualizer'
)
log_processor = dict(by_epoch=False, window_size=20)
log_level = 'INFO'
load_from = None
resume = False
# Resuming repeats the data of an uninterrupted training only with the same seed.
randomness = dict(seed=0)
