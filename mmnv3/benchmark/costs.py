"""What every kind of subject needs besides its stages."""

from __future__ import annotations

import torch
from torch import nn

from mmnv3.benchmark.complexity import Complexity, count
from mmnv3.deploy.runtime import BACKENDS
from mmnv3.errors import UserError


def check_device(backend: str, device: str) -> None:
    """Checks that a backend runs on a device, and that there is one.

    Raises:
        UserError: When not.
    """
    if device == 'cpu':
        return
    if BACKENDS[backend] is not None:
        raise UserError(
            f'backend {backend!r} runs on the CPU here; --device {device} takes '
            'pytorch and compile'
        )
    if not torch.cuda.is_available():
        raise UserError(f'--device {device}: PyTorch finds none; leave it out')


def count_model(model: nn.Module, size: tuple[int, int]) -> Complexity:
    """Counts a model, without its decoding.

    Args:
        model: The model.
        size: Input, (width, height).

    Returns:
        The counts; no multiply-adds where the network cannot run without pictures.
    """
    try:
        return count(model, size[::-1])
    except Exception:  # Some toolboxes' forward needs what only their data gives.
        params = sum(parameter.numel() for parameter in model.parameters())
        return Complexity(params=params, norm_params=0, madds=0)


def tensor_bytes(module: nn.Module) -> int:
    """Bytes of a module's parameters and buffers."""
    tensors = [*module.parameters(), *module.buffers()]
    return sum(tensor.numel() * tensor.element_size() for tensor in tensors)
