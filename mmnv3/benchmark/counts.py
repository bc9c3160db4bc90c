"""Parameters, bytes and multiply-adds, counted on built modules."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import nn
from torch.func import functional_call
from torch.nn.modules.batchnorm import _BatchNorm
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import flop_registry

_ACTS = ('hardsigmoid', 'hardswish', 'hardtanh', 'relu', 'sigmoid')
_NORMS = ('native_batch_norm', '_native_batch_norm_legit_no_training')


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
    parts = {name: part for name, part in module.named_modules() if name}
    madds = _count_madds(module, size)
    return Complexity(
        params=count_params(module),
        norm_params=sum(
            count_params(part)
            for part in module.modules()
            if isinstance(part, _BatchNorm)
        ),
        madds=madds[module],
        layer_params={name: count_params(part) for name, part in parts.items()},
        layer_madds={name: madds[part] for name, part in parts.items()},
    )


def _count_madds(module: nn.Module, size: tuple[int, int]) -> Counter[nn.Module]:
    """Multiply-adds of a module and of every part of it that a picture passes."""
    width, height = size
    picture = torch.empty(1, 3, height, width, device='meta')
    shapes = {
        name: tensor.to('meta')
        for tensors in (module.named_parameters(), module.named_buffers())
        for name, tensor in tensors
    }
    training = {part: part.training for part in module.modules()}
    counter = _Counter()
    hooks = [
        hook
        for part in training
        for hook in (
            part.register_forward_pre_hook(counter.enter),
            part.register_forward_hook(counter.leave),
        )
    ]
    module.eval()
    try:
        # Under no_grad `Conv2dSame` widens its kernel by zeros, which are not
        # multiplied.
        with torch.enable_grad(), counter:
            functional_call(module, shapes, (picture,))
    finally:
        for hook in hooks:
            hook.remove()
        for part, was_training in training.items():
            part.training = was_training
    return counter.madds


class ShapesOnly(TorchDispatchMode):
    """Runs networks on the meta device, where only shapes matter.

    PyTorch takes milliseconds for those of an activation or a normalisation.
    """

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple = (), kwargs: dict | None = None
    ) -> Any:
        name = func.overloadpacket.__name__
        if name in _NORMS:
            nothing = args[0].new_empty(0)
            return torch.empty_like(args[0]), nothing, nothing
        if name in _ACTS:
            return torch.empty_like(args[0])
        if name.removesuffix('_') in _ACTS:
            return args[0]
        return func(*args, **(kwargs or {}))


class _Counter(ShapesOnly):
    """Counts as PyTorch's ``FlopCounterMode`` does, in a fifth of its time.

    Attributes:
        inside: The modules that are running, the outermost first.
        madds: Multiply-adds of each.
    """

    def __init__(self) -> None:
        super().__init__()
        self.inside: list[nn.Module] = []
        self.madds: Counter[nn.Module] = Counter()

    def enter(self, part: nn.Module, _: Any) -> None:
        """A hook of modules before they run."""
        self.inside.append(part)

    def leave(self, *_: Any) -> None:
        """A hook of modules after they ran."""
        self.inside.pop()

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple = (), kwargs: dict | None = None
    ) -> Any:
        out = super().__torch_dispatch__(func, types, args, kwargs)
        if flops := flop_registry.get(func.overloadpacket):
            found = flops(*args, **(kwargs or {}), out_val=out) // 2
            self.madds.update(dict.fromkeys(self.inside, found))
        return out


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
