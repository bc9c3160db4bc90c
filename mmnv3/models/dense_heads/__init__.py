"""Dense heads."""

from mmnv3.models.dense_heads.progressive_nms import progressive_nms
from mmnv3.models.dense_heads.ssdlite_head import SSDLiteHead

__all__ = ['SSDLiteHead', 'progressive_nms']
