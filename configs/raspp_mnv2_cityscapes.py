"""R-ASPP on V2, tail halved (Table 7, row 2)."""

_base_ = ['raspp_mnv3_large_cityscapes.py']

model = dict(
    backbone=dict(arch='v2', out_taps=('block17',)),
    decode_head=dict(in_channels=160),
)
