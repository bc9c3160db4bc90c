"""How a config becomes a model, and how it is trained.

The registries import this package for what configs name in it.
"""

from mmnv3.engine.hooks import (
    AtomicCheckpointHook,
    CheckpointFitHook,
    ClassCountHook,
    CurvesHook,
    KeepMemoryHook,
    StopAtNaNHook,
    UnfoldNormsHook,
)
from mmnv3.engine.legend_visualizer import LegendVisualizer

__all__ = [
    'AtomicCheckpointHook',
    'CheckpointFitHook',
    'ClassCountHook',
    'CurvesHook',
    'KeepMemoryHook',
    'LegendVisualizer',
    'StopAtNaNHook',
    'UnfoldNormsHook',
]
