"""What every segmentation config shares beyond detection's runtime."""

_base_ = 'runtime_det.py'

default_scope = 'mmseg'

default_hooks = dict(
    checkpoint=dict(save_best='mIoU'),
    visualization=dict(_delete_=True, type='SegVisualizationHook', interval=1),
)
tta_model = dict(_delete_=True, type='SegTTAModel')
visualizer = dict(
    _delete_=True,
    type='mmnv3.LegendVisualizer',
    vis_backends=[dict(type='LocalVisBackend')],
    name='visualizer',
    alpha=0.5,
)
