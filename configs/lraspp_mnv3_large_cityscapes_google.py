"""The segmenter that Google published, V3-Large: for its converted weights.

Source: deeplab_mnv3_large_cityscapes_trainfine_2019_11_15 of DeepLab's model zoo and
its flags: output stride 32, windows of 25×25 cells at strides of 4×5, TensorFlow's
gates. Pictures are padded to one pixel more than Cityscapes' with the grey that its
normalisation turns into 0.
"""

_base_ = ['lraspp_mnv3_large_os32_cityscapes.py']

from mmnv3.arch import follow_backbone

model = follow_backbone(
    _base_.model,
    data_preprocessor=dict(test_cfg=dict(size=(1025, 2049))),
    backbone=dict(gate='hsigmoid_tf'),
    decode_head=dict(pool=((25, 25), (4, 5)), gate='hsigmoid_tf'),
)
