"""R-ASPP on V3-Large, tail halved (Table 7, row 6)."""

_base_ = [
    '_base_/raspp_mnv3_large.py',
    '_base_/cityscapes_769.py',
    '_base_/schedule_poly_90k.py',
    '_base_/runtime_seg.py',
]
