"""Drawn pictures of shapes, as COCO boxes and as Cityscapes masks.

``draw_scene`` gives one picture in memory, ``write_demo_data`` a set on disk.
"""

from mmnv3.datasets.demo.classes import (
    CLASSES,
    PALETTE,
    SEGMENTATION_CLASSES,
    SEGMENTATION_PALETTE,
)
from mmnv3.datasets.demo.scene import Scene, draw_scene
from mmnv3.datasets.demo.writing import DemoSpec, write_demo_data

__all__ = [
    'CLASSES',
    'PALETTE',
    'SEGMENTATION_CLASSES',
    'SEGMENTATION_PALETTE',
    'DemoSpec',
    'Scene',
    'draw_scene',
    'write_demo_data',
]
