"""LR-ASPP with 256 filters on V3-Large (Table 7, row 7)."""

_base_ = ['lraspp_mnv3_large_cityscapes.py']

model = dict(
    decode_head=dict(channels=256),
)
