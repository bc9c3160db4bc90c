"""LR-ASPP on V2 0.35, tail halved (Table 7, row 10)."""

_base_ = ['lraspp_mnv2_cityscapes.py']

model = dict(
    backbone=dict(width=0.35),
    decode_head=dict(in_channels=(96, 56)),
)
