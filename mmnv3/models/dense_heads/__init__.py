"""Dense heads."""

from mmnv3.models.dense_heads.ssdlite_head import SSDLiteHead
from mmnv3.ops.progressive_nms import progressive_nms

__all__ = ['SSDLiteHead', 'progressive_nms']
