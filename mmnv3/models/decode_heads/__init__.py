"""Heads that turn feature maps into a class for every pixel."""

from mmnv3.models.decode_heads.lraspp_head import LRASPPHead
from mmnv3.models.decode_heads.raspp_head import RASPPHead

__all__ = ['LRASPPHead', 'RASPPHead']
