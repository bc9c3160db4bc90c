"""CamVid's 11 classes with the Small network, from scratch."""

_base_ = ['lraspp_mnv3_large_camvid.py']

from mmnv3.arch import follow_backbone

model = follow_backbone(
    _base_.model, backbone=dict(arch='small', out_taps=('block3.depthwise', 'C5'))
)
