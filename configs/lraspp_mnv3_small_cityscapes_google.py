"""The segmenter that Google published, V3-Small: for its converted weights.

Source: deeplab_mnv3_small_cityscapes_trainfine_2019_11_15 of DeepLab's model zoo.
"""

_base_ = ['lraspp_mnv3_large_cityscapes_google.py']

from mmnv3.arch import follow_backbone

model = follow_backbone(
    _base_.model, backbone=dict(arch='small', out_taps=('block3.depthwise', 'C5'))
)
