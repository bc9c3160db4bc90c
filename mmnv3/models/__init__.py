"""Networks as torch modules, registered under their names."""

from mmnv3.models.backbones import MobileNetV3
from mmnv3.models.dense_heads import SSDLiteHead
from mmnv3.models.losses import SigmoidFocalLoss
from mmnv3.models.necks import SSDLiteNeck
from mmnv3.models.task_modules import SSDLiteAnchorGenerator

__all__ = [
    'MobileNetV3',
    'SSDLiteAnchorGenerator',
    'SSDLiteHead',
    'SSDLiteNeck',
    'SigmoidFocalLoss',
]
