"""Parameters, bytes and multiply-adds, counted on built modules."""

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
            (half of what are called FLOPs), of one picture.
        layer_params: ``params`` of every part, by its name in ``named_modules``.
        layer_madds: ``madds`` of every part.
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
        size: Pixels, (width, height).
    """
    module = copy.deepcopy(module).to('meta').eval()
    root = type(module).__name__
    width, height = size
    picture = torch.empty(1, 3, height, width, device='meta')
    # Under no_grad `Conv2dSame` widens its kernel by zeros, which are not multiplied.
    with torch.enable_grad(), FlopCounterMode(display=False) as counter:
        module(picture)
    flops = counter.get_flop_counts()
    parts = {name: part for name, part in module.named_modules() if name}
    return Complexity(
        params=count_params(module),
        norm_params=sum(
            count_params(part)
            for part in module.modules()
            if isinstance(part, _BatchNorm)
        ),
        madds=counter.get_total_flops() // 2,
        layer_params={name: count_params(part) for name, part in parts.items()},
        layer_madds={
            name: sum(flops.get(f'{root}.{name}', {}).values()) // 2 for name in parts
        },
    )


def count_params(module: nn.Module) -> int:
    """The numbers that training learns."""
    return sum(parameter.numel() for parameter in module.parameters())


def count_madds(module: nn.Module, size: tuple[int, int]) -> int | None:
    """Multiply-adds of one picture.

    Args:
        module: The network.
        size: Pixels, (width, height).

    Returns:
        None where the network cannot run without what only its toolbox's data gives.
    """
    try:
        return count(module, size).madds
    except Exception:  # A foreign network may miss anything.
        return None


def tensor_bytes(module: nn.Module) -> int:
    """Bytes of a module's parameters and buffers."""
    tensors = [*module.parameters(), *module.buffers()]
    return sum(tensor.numel() * tensor.element_size() for tensor in tensors)
