"""Parameters and multiply-adds, counted on built modules."""

from __future__ import annotations

import copy
from dataclasses import dataclass, field

import torch
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.utils.flop_counter import FlopCounterMode


@dataclass(frozen=True)
class Complexity:
    """What a network costs.

    Args:
        params: Trainable numbers.
        norm_params: Those of them in batch normalisation, which Table 6 leaves out.
        madds: Multiply-adds of convolutions and matrix products, the paper's measure
            (half of what are called FLOPs).
        layer_params: ``params`` by direct child.
        layer_madds: ``madds`` by direct child.
    """

    params: int
    norm_params: int
    madds: int
    layer_params: dict[str, int] = field(default_factory=dict)
    layer_madds: dict[str, int] = field(default_factory=dict)


def count(module: nn.Module, size: tuple[int, int] = (224, 224)) -> Complexity:
    """Counts a network for one picture, without computing anything.

    Args:
        module: Takes (1, 3, H, W); stays as it is.
        size: (H, W) in pixels.
    """
    module = copy.deepcopy(module).to('meta').eval()
    name = type(module).__name__
    picture = torch.empty(1, 3, *size, device='meta')
    # Under no_grad `Conv2dSame` widens its kernel by zeros, which are not multiplied.
    with torch.enable_grad(), FlopCounterMode(display=False) as counter:
        module(picture)
    flops = counter.get_flop_counts()
    children = dict(module.named_children())
    return Complexity(
        params=_params(module),
        norm_params=sum(
            _params(part) for part in module.modules() if isinstance(part, _BatchNorm)
        ),
        madds=counter.get_total_flops() // 2,
        layer_params={child: _params(part) for child, part in children.items()},
        layer_madds={
            child: sum(flops.get(f'{name}.{child}', {}).values()) // 2
            for child in children
        },
    )


def _params(module: nn.Module) -> int:
    return sum(parameter.numel() for parameter in module.parameters())
