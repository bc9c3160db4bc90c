"""torchvision's lraspp_mobilenet_v3_large, trained as the paper's network.

It taps another block, keeps the classifier's tail, pools globally, dilates from the
block that loses its stride, and has no bias in the pooled 1x1 (here it stays zero).
"""

_base_ = ['lraspp_mnv3_large_cityscapes.py']

from mmnv3.arch import follow_backbone

model = follow_backbone(
    _base_.model,
    backbone=dict(
        tail=None,
        padding='symmetric',
        dilation='torchvision',
        out_taps=('block4', 'C5'),
    ),
    decode_head=dict(pool='global', align_corners=False),
)
