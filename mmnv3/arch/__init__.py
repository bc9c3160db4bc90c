"""Networks as data: specifications, the paper's tables, and the rules that edit them.

Nothing here imports torch.
"""

from __future__ import annotations

import os

from mmnv3.arch.io import load_spec, save_spec
from mmnv3.arch.scale import scale_width, set_outputs
from mmnv3.arch.spec import (
    DILATIONS,
    OUTPUT_STRIDES,
    BlockPlan,
    BlockSpec,
    ConvSpec,
    NetSpec,
    SqueezeExcite,
    make_divisible,
    plan_blocks,
)
from mmnv3.arch.tails import TAILS, apply_tail
from mmnv3.arch.taps import Tap, find_taps, list_taps, tap_aliases
from mmnv3.arch.zoo import ZOO
from mmnv3.errors import UserError

__all__ = [
    'DILATIONS',
    'OUTPUT_STRIDES',
    'TAILS',
    'ZOO',
    'BlockPlan',
    'BlockSpec',
    'ConvSpec',
    'NetSpec',
    'SqueezeExcite',
    'Tap',
    'apply_tail',
    'find_taps',
    'get_spec',
    'list_taps',
    'load_spec',
    'make_divisible',
    'plan_blocks',
    'save_spec',
    'scale_width',
    'set_outputs',
    'tap_aliases',
]


def get_spec(
    arch: str | os.PathLike[str] | NetSpec = 'large',
    width: float = 1.0,
    tail: str | None = None,
) -> NetSpec:
    """Finds a network and edits it: first the task's tail, then the width.

    Args:
        arch: A name of :data:`ZOO`, the path of a ``.json`` specification, or a
            specification.
        width: Width multiplier.
        tail: ``'detection'``, ``'segmentation'`` or None.

    Raises:
        UserError: For an unknown name, an impossible width or tail; lists what is
            possible.
    """
    if isinstance(arch, NetSpec):
        spec = arch
    elif str(arch).endswith('.json'):
        spec = load_spec(arch)
    elif arch in ZOO:
        spec = ZOO[arch]
    else:
        raise UserError(
            f'arch={arch!r} is unknown; possible: {", ".join(ZOO)}, or the path of '
            'a .json specification'
        )
    return scale_width(apply_tail(spec, tail), width)
