"""Networks as data: specifications, the paper's tables, and the rules that edit them.

Nothing here imports torch.
"""

from __future__ import annotations

from mmnv3.arch.follow import (
    backbone_taps,
    fit_to_taps,
    follow_backbone,
    ssdlite_levels,
)
from mmnv3.arch.io import load_spec, save_spec
from mmnv3.arch.layers import Layer, Network, block_layers, list_layers
from mmnv3.arch.scale import scale_width, set_outputs
from mmnv3.arch.spec import (
    DILATIONS,
    OUTPUT_STRIDES,
    PADDINGS,
    TASKS,
    BlockPlan,
    BlockSpec,
    ConvSpec,
    NetSpec,
    SqueezeExcite,
    check_choice,
    check_count,
    check_counts,
    check_positive,
    make_divisible,
    plan_blocks,
)
from mmnv3.arch.tails import apply_tail
from mmnv3.arch.taps import Tap, choose_taps, find_taps, list_taps, tap_aliases
from mmnv3.arch.zoo import ZOO, get_spec

__all__ = [
    'DILATIONS',
    'OUTPUT_STRIDES',
    'PADDINGS',
    'TASKS',
    'ZOO',
    'BlockPlan',
    'BlockSpec',
    'ConvSpec',
    'Layer',
    'NetSpec',
    'Network',
    'SqueezeExcite',
    'Tap',
    'apply_tail',
    'backbone_taps',
    'block_layers',
    'check_choice',
    'check_count',
    'check_counts',
    'check_positive',
    'choose_taps',
    'find_taps',
    'fit_to_taps',
    'follow_backbone',
    'get_spec',
    'list_layers',
    'list_taps',
    'load_spec',
    'make_divisible',
    'plan_blocks',
    'save_spec',
    'scale_width',
    'set_outputs',
    'ssdlite_levels',
    'tap_aliases',
]
