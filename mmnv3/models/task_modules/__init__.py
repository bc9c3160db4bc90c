"""Parts of the detectors that hold no weights."""

from mmnv3.models.task_modules.ssdlite_anchors import SSDLiteAnchorGenerator

__all__ = ['SSDLiteAnchorGenerator']
