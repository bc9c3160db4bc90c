"""Networks as torch modules, registered under their names."""

from mmnv3.models.backbones import MobileNetV3
from mmnv3.models.cls_heads import MobileNetV3ClsHead
from mmnv3.models.decode_heads import LRASPPHead, RASPPHead
from mmnv3.models.dense_heads import SSDLiteHead
from mmnv3.models.losses import SigmoidFocalLoss
from mmnv3.models.necks import SSDLiteNeck
from mmnv3.models.task_modules import SSDLiteAnchorGenerator

__all__ = [
    'LRASPPHead',
    'MobileNetV3',
    'MobileNetV3ClsHead',
    'RASPPHead',
    'SSDLiteAnchorGenerator',
    'SSDLiteHead',
    'SSDLiteNeck',
    'SigmoidFocalLoss',
]
