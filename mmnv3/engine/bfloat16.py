"""Training in bfloat16 on a CPU, as ``mmnv3.BFloat16OptimWrapper`` in configs."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from mmengine.optim import OptimWrapper
from torch import nn

from mmnv3.compat.depthwise_bfloat16 import mend_depthwise
from mmnv3.registry import OPTIM_WRAPPERS


@OPTIM_WRAPPERS.register_module()
class BFloat16OptimWrapper(OptimWrapper):
    """Computes in bfloat16 on a CPU what PyTorch's autocast deems safe.

    Weights, their gradients, and what the optimiser remembers stay float32, and so
    does a checkpoint. Losses need no scale, since bfloat16 has float32's range.
    mmengine's ``AmpOptimWrapper``, whose arguments but ``loss_scale`` and ``dtype`` it
    takes, wants a GPU.
    """

    @contextmanager
    def optim_context(self, model: nn.Module) -> Iterator[None]:
        """What a model computes its losses in; see ``OptimWrapper``."""
        mend_depthwise(model)
        with super().optim_context(model), torch.autocast('cpu', torch.bfloat16):
            yield
