"""Networks as torch modules, registered under their names."""

from mmnv3.models.backbone import MobileNetV3
from mmnv3.models.classifier import MobileNetV3ClsHead
from mmnv3.models.lraspp import LRASPPHead, RASPPHead
from mmnv3.models.ssdlite import (
    SigmoidFocalLoss,
    SSDLiteAnchorGenerator,
    SSDLiteHead,
    SSDLiteNeck,
)

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
