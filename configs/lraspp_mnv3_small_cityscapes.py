"""LR-ASPP on V3-Small, tail halved (Table 7, row 11)."""

_base_ = ['lraspp_mnv3_large_cityscapes.py']

model = dict(
    backbone=dict(arch='small', out_taps=('block3.depthwise', 'C5')),
    decode_head=dict(in_channels=(88, 288)),
)
