"""From scratch on little data and a CPU; a config adds iterations and the cosine."""

val_cfg = dict(type='ValLoop')
test_cfg = dict(type='TestLoop')
optim_wrapper = dict(
    type='OptimWrapper',
    optimizer=dict(type='SGD', lr=0.05, momentum=0.9, weight_decay=4e-5),
    paramwise_cfg=dict(norm_decay_mult=0.0, bias_decay_mult=0.0),
    # The rate is high for so small a batch; the first steps need the limit.
    clip_grad=dict(max_norm=10),
)
# For --auto-scale-lr; the rates are for the batches of the configs.
auto_scale_lr = dict(enable=False, base_batch_size=16)
