"""Necks."""

from mmnv3.models.necks.ssdlite_neck import SSDLiteNeck

__all__ = ['SSDLiteNeck']
