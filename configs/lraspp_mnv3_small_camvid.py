"""CamVid's 11 classes with the Small network, from scratch."""

_base_ = ['lraspp_mnv3_large_camvid.py']

model = dict(
    backbone=dict(arch='small', out_taps=('block3.depthwise', 'C5')),
    decode_head=dict(in_channels=(88, 288)),
)
