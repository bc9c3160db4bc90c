"""LR-ASPP with 256 filters on V2 (Table 7, row 3)."""

_base_ = ['lraspp_mnv2_cityscapes.py']

model = dict(
    decode_head=dict(channels=256),
)
