"""Carries weights between two implementations of one network."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.modules.batchnorm import _BatchNorm


def copy_in_order(source: nn.Module, target: nn.Module) -> None:
    """Copies weights where both register the same layers in the same order."""
    given, wanted = source.state_dict(), target.state_dict()
    assert len(given) == len(wanted)
    for (old, value), (new, place) in zip(given.items(), wanted.items(), strict=True):
        assert value.shape == place.shape, f'{old} {new}'
    target.load_state_dict(dict(zip(wanted, given.values())))


@torch.no_grad()
def calibrate_norms(module: nn.Module, run: Callable[[Tensor], object]) -> None:
    """Sets the statistics of normalisation layers from pictures of blurred noise.

    Without it the signal of a random network fades, and all that is left at its end
    are biases: the same numbers everywhere.

    Args:
        module: The network; ends in eval mode.
        run: Passes (N, 3, 320, 320) through it.
    """
    noise = [torch.rand(4, 3, size, size) for size in (10, 40, 160)]
    pictures = sum(F.interpolate(x, (320, 320), mode='bilinear') for x in noise) - 1.5
    for part in module.modules():
        if isinstance(part, _BatchNorm):
            part.momentum = None  # the average of what it sees
    module.train()
    run(pictures)
    module.eval()


@torch.no_grad()
def shake_norms(module: nn.Module) -> None:
    """Gives normalisation layers statistics and weights that matter."""
    for part in module.modules():
        if isinstance(part, _BatchNorm):
            part.running_mean.normal_(0, 0.1)
            part.running_var.uniform_(0.5, 1.5)
            part.weight.uniform_(0.5, 1.5)
            part.bias.normal_(0, 0.1)
