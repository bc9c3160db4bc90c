"""The paper's segmentation network: LR-ASPP on V3-Large (Table 7, row 8)."""

_base_ = [
    '_base_/lraspp_mnv3_large.py',
    '_base_/cityscapes_769.py',
    '_base_/schedule_poly_90k.py',
    '_base_/runtime_seg.py',
]
