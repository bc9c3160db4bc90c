"""CamVid's 11 classes, fine-tuned from Google's ImageNet classifier.

The file is v3-small_224_1.0_uint8.tflite of slim's model zoo. What the halved tail
changes starts anew.
"""

_base_ = ['lraspp_mnv3_small_camvid.py']

model = dict(
    backbone=dict(
        init_cfg=[
            dict(type='Kaiming', layer='Conv2d', mode='fan_out'),
            dict(
                type='mmnv3.ForeignPretrained',
                checkpoint='data/weights/v3-small_224_1.0_uint8.tflite',
            ),
        ],
    ),
)
# The file's normalisation is folded into its kernels.
custom_hooks = [*_base_.custom_hooks, dict(type='mmnv3.UnfoldNormsHook')]
