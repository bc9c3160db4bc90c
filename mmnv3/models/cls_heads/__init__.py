"""Heads that turn a pooled feature into classes of the picture."""

from mmnv3.models.cls_heads.mobilenet_v3_cls_head import MobileNetV3ClsHead

__all__ = ['MobileNetV3ClsHead']
