"""Lets mmpretrain be imported beside transformers 5.

Upstream fault: mmpretrain 1.2 imports its multimodal models when any transformers from
4.28 on is installed. Version 5 no longer has three functions that they need; they then
subclass None: "TypeError: NoneType takes no arguments". mmseg imports mmpretrain and
fails with it. Goes when mmpretrain states an upper bound or knows version 5.
"""

import importlib
from types import ModuleType

_NEEDED = (
    'apply_chunking_to_forward',
    'find_pruneable_heads_and_indices',
    'prune_linear_layer',
)


def leave_out_multimodal(dependency: ModuleType) -> None:
    """Treats a transformers that is too new as mmpretrain treats one that is absent."""
    if not dependency.WITH_MULTIMODAL:
        return
    utils = importlib.import_module('transformers.modeling_utils')
    if not all(hasattr(utils, name) for name in _NEEDED):
        dependency.WITH_MULTIMODAL = False
