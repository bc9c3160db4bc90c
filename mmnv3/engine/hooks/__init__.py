"""What happens around training, one class a file."""

from mmnv3.engine.hooks.checkpoint_fit_hook import CheckpointFitHook
from mmnv3.engine.hooks.checkpoint_hook import AtomicCheckpointHook
from mmnv3.engine.hooks.class_count_hook import ClassCountHook
from mmnv3.engine.hooks.curves_hook import CurvesHook
from mmnv3.engine.hooks.keep_memory_hook import KeepMemoryHook
from mmnv3.engine.hooks.nan_hook import StopAtNaNHook
from mmnv3.engine.hooks.unfold_norms_hook import UnfoldNormsHook

__all__ = [
    'AtomicCheckpointHook',
    'CheckpointFitHook',
    'ClassCountHook',
    'CurvesHook',
    'KeepMemoryHook',
    'StopAtNaNHook',
    'UnfoldNormsHook',
]
