"""LR-ASPP on V3-Large without dilation (Table 8, output stride 32)."""

_base_ = ['lraspp_mnv3_large_cityscapes.py']

model = dict(
    backbone=dict(output_stride=32),
    decode_head=dict(output_stride=32),
)
