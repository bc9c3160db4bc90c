"""R-ASPP on V3-Large with the classifier's tail (Table 7, row 5)."""

_base_ = ['raspp_mnv3_large_cityscapes.py']

model = dict(
    backbone=dict(tail=None),
    decode_head=dict(in_channels=960),
)
