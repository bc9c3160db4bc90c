"""What happens around training: hooks, and starting it."""

from mmnv3.engine.checkpoint_hook import AtomicCheckpointHook, find_resumable
from mmnv3.engine.class_count_hook import ClassCountHook
from mmnv3.engine.curves_hook import CurvesHook
from mmnv3.engine.fit_hook import CheckpointFitHook
from mmnv3.engine.keep_memory_hook import KeepMemoryHook
from mmnv3.engine.legend_visualizer import LegendVisualizer
from mmnv3.engine.nan_hook import StopAtNaNHook
from mmnv3.engine.unfold_norms_hook import UnfoldNormsHook

__all__ = [
    'AtomicCheckpointHook',
    'CheckpointFitHook',
    'ClassCountHook',
    'CurvesHook',
    'KeepMemoryHook',
    'LegendVisualizer',
    'StopAtNaNHook',
    'UnfoldNormsHook',
    'find_resumable',
]
