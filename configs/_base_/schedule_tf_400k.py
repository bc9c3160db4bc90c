"""The pipeline config's schedule: 400 000 steps of 512 images, cosine from 0.4.

Stated in images, so that any number of processes and any batch size train the same:
fewer images an iteration mean more iterations, and `auto_scale_lr` lowers the learning
rate in proportion. `torchrun` and the launchers of OpenMMLab set WORLD_SIZE.
"""

images_per_step = 512
images_per_iter = 16 * int('{{$WORLD_SIZE:1}}')
iters_per_step = max(1, images_per_step // images_per_iter)
max_iters = 400_000 * iters_per_step
warmup_iters = 2_000 * iters_per_step

train_cfg = dict(
    type='IterBasedTrainLoop', max_iters=max_iters, val_interval=max_iters // 80
)
val_cfg = dict(type='ValLoop')
test_cfg = dict(type='TestLoop')

optim_wrapper = dict(
    type='OptimWrapper',
    optimizer=dict(type='SGD', lr=0.4, momentum=0.9, weight_decay=4e-5),
    # slim regularises the kernels of convolutions and nothing else.
    paramwise_cfg=dict(norm_decay_mult=0.0, bias_decay_mult=0.0),
)
param_scheduler = [
    # From 0.13333 to 0.4.
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
auto_scale_lr = dict(enable=True, base_batch_size=images_per_step)
