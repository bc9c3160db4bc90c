"""torchvision's ImageNet training of MobileNetV3, on 8 processes of 128 pictures."""

train_cfg = dict(type='EpochBasedTrainLoop', max_epochs=600, val_interval=5)
val_cfg = dict(type='ValLoop')
test_cfg = dict(type='TestLoop')

optim_wrapper = dict(
    type='OptimWrapper',
    optimizer=dict(
        type='RMSprop',
        lr=0.064,
        alpha=0.9,
        momentum=0.9,
        eps=0.0316,
        weight_decay=1e-5,
    ),
)
param_scheduler = dict(type='StepLR', step_size=2, gamma=0.973, by_epoch=True)
auto_scale_lr = dict(enable=True, base_batch_size=1024)
