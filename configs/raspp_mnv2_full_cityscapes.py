"""R-ASPP on V2 as it is (Table 7, row 1)."""

_base_ = ['raspp_mnv2_cityscapes.py']

model = dict(
    backbone=dict(tail=None),
    decode_head=dict(in_channels=320),
)
