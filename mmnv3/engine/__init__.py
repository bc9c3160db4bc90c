"""How a config becomes a model, and how it is trained.

The registries import this package for what configs name in it.
"""

import mmnv3.engine.addresses  # noqa: F401, adds addresses to mmengine's
from mmnv3.engine.coco_by_name import CocoMetricByName
from mmnv3.engine.hooks.checkpoint_fit_hook import CheckpointFitHook
from mmnv3.engine.hooks.checkpoint_hook import AtomicCheckpointHook
from mmnv3.engine.hooks.class_count_hook import ClassCountHook
from mmnv3.engine.hooks.cls_visualization_hook import ClsVisualizationHook
from mmnv3.engine.hooks.curves_hook import CurvesHook
from mmnv3.engine.hooks.distillation_hook import DistillationHook
from mmnv3.engine.hooks.keep_memory_hook import KeepMemoryHook
from mmnv3.engine.hooks.nan_hook import StopAtNaNHook
from mmnv3.engine.hooks.unfold_norms_hook import UnfoldNormsHook
from mmnv3.engine.visualizers import (
    CaptionVisualizer,
    DetectionVisualizer,
    LegendVisualizer,
)

__all__ = [
    'AtomicCheckpointHook',
    'CaptionVisualizer',
    'CheckpointFitHook',
    'ClassCountHook',
    'ClsVisualizationHook',
    'CocoMetricByName',
    'CurvesHook',
    'DetectionVisualizer',
    'DistillationHook',
    'KeepMemoryHook',
    'LegendVisualizer',
    'StopAtNaNHook',
    'UnfoldNormsHook',
]
