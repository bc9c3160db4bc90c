"""The paper's ImageNet training (Section 6.1.1), completed from the released recipe.

The paper gives RMSProp with momentum 0.9, a rate of 0.1 for a batch of 4096, a decay of
0.01 every 3 epochs, an L2 of 1e-5 and an average of the weights with 0.9999. From
slim's README and TensorFlow's model garden: the decay is a factor of 0.99, there are 5
epochs of warm-up, RMSProp's own decay is 0.9 and its epsilon 0.002 under the square
root, and neither depthwise kernels nor normalisation are regularised. Nobody says how
many epochs; the model garden trains the Small network for 1000.
"""

max_epochs = 1000

train_cfg = dict(type='EpochBasedTrainLoop', max_epochs=max_epochs, val_interval=5)
val_cfg = dict(type='ValLoop')
test_cfg = dict(type='TestLoop')

optim_wrapper = dict(
    type='OptimWrapper',
    optimizer=dict(
        type='mmnv3.RMSpropTF',
        lr=0.1,
        alpha=0.9,
        momentum=0.9,
        eps=0.002,
        weight_decay=1e-5,
    ),
    paramwise_cfg=dict(norm_decay_mult=0.0, bias_decay_mult=0.0, dwconv_decay_mult=0.0),
)
param_scheduler = [
    dict(
        type='LinearLR',
        start_factor=0.01,
        by_epoch=True,
        begin=0,
        end=5,
        convert_to_iter_based=True,
    ),
    dict(type='StepLR', step_size=3, gamma=0.99, by_epoch=True),
]
auto_scale_lr = dict(enable=True, base_batch_size=4096)
# Of the weights and of the statistics of batch normalisation.
weight_average = dict(
    type='EMAHook',
    ema_type='ExponentialMovingAverage',
    momentum=1e-4,
    update_buffers=True,
)
