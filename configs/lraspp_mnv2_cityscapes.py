"""LR-ASPP on V2, tail halved (Table 7, row 4)."""

_base_ = ['lraspp_mnv3_large_cityscapes.py']

model = dict(
    backbone=dict(arch='v2', out_taps=('block6.depthwise', 'block17')),
    decode_head=dict(in_channels=(192, 160)),
)
