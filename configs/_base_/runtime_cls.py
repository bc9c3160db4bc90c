"""What every classification config shares beyond detection's runtime."""

_base_ = 'runtime_det.py'

default_scope = 'mmpretrain'

default_hooks = dict(
    logger=dict(log_metric_by_epoch=True),
    checkpoint=dict(by_epoch=True, interval=1, save_best='accuracy/top1'),
    visualization=dict(_delete_=True, type='mmnv3.ClsVisualizationHook', interval=1),
)
tta_model = dict(_delete_=True, type='AverageClsScoreTTA')
visualizer = dict(
    _delete_=True,
    type='mmnv3.CaptionVisualizer',
    vis_backends=[dict(type='LocalVisBackend')],
    name='visualizer',
)
log_processor = dict(by_epoch=True)
