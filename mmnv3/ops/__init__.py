"""Suppression, which models and exported files share: torch and torchvision alone."""

from mmnv3.ops.progressive_nms import progressive_nms
from mmnv3.ops.static_nms import static_nms

__all__ = ['progressive_nms', 'static_nms']
