"""DeepLab's schedule for Cityscapes: 90 000 steps of 16 pictures, polynomial decay.

Stated in images, as schedule_tf_400k.py: fewer pictures an iteration mean more
iterations and, by `auto_scale_lr`, a lower rate. A shorter training overrides
`train_cfg.max_iters` and the two `param_scheduler.N.end` (0 is the warm-up).

How the paper trained its networks from scratch is not published. Decay, momentum,
weight decay and batch are DeepLab's. Its rate of 0.01 is for pretrained weights; from
scratch 0.2 is best among 0.1, 0.2 and 0.4 (mIoU 34.8, 37.0, 36.6 after 300 iterations
of 8 pictures on 120 street scenes), after a warm-up.
"""

images_per_step = 16
images_per_iter = 4 * int('{{$WORLD_SIZE:1}}')
iters_per_step = max(1, images_per_step // images_per_iter)
max_iters = 90_000 * iters_per_step
warmup_iters = 500 * iters_per_step

train_cfg = dict(
    type='IterBasedTrainLoop', max_iters=max_iters, val_interval=max_iters // 45
)
val_cfg = dict(type='ValLoop')
test_cfg = dict(type='TestLoop')

optim_wrapper = dict(
    type='OptimWrapper',
    optimizer=dict(type='SGD', lr=0.2, momentum=0.9, weight_decay=4e-5),
    # slim regularises neither normalisation, nor biases, nor depthwise kernels.
    paramwise_cfg=dict(norm_decay_mult=0.0, bias_decay_mult=0.0, dwconv_decay_mult=0.0),
)
param_scheduler = [
    dict(type='LinearLR', start_factor=0.1, by_epoch=False, begin=0, end=warmup_iters),
    dict(type='PolyLR', power=0.9, eta_min=0, by_epoch=False, begin=0, end=max_iters),
]
auto_scale_lr = dict(enable=True, base_batch_size=images_per_step)
