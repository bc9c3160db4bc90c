"""Gives batch normalisation back to weights that came without it."""

from __future__ import annotations

import torch
from mmengine.dataset import pseudo_collate
from mmengine.hooks import Hook
from mmengine.logging import print_log
from mmengine.model import is_model_wrapper
from mmengine.runner import Runner
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from mmnv3.registry import HOOKS


@HOOKS.register_module()
class UnfoldNormsHook(Hook):
    """Restores folded normalisation of the backbone before training starts.

    A LiteRT file has every normalisation folded into its kernel. As converted it does
    nothing (``weight`` 1, mean 0), which is right in inference; but training normalises
    by the batch, and would scale every layer otherwise than its weights expect. So the
    statistics are measured on pictures of the training set, and scale and offset set so
    that the output stays what it was, in inference and, nearly, in training.

    A resumed training has them already.

    Args:
        pictures: How many to measure on.
    """

    def __init__(self, pictures: int = 32) -> None:
        self.pictures = pictures

    def before_train(self, runner: Runner) -> None:
        """Measures and sets."""
        if runner._resume:
            return
        model = runner.model.module if is_model_wrapper(runner.model) else runner.model
        dataset = runner.train_dataloader.dataset
        batches = []
        for index in range(min(self.pictures, len(dataset))):
            sample = dataset[index]
            if sample is not None:
                data = model.data_preprocessor(pseudo_collate([sample]), False)
                batches.append(data['inputs'])
        count = unfold_norms(model.backbone, batches)
        print_log(
            f'restored {count} folded normalisation layers on {len(batches)} pictures',
            logger='current',
        )


@torch.no_grad()
def unfold_norms(network: nn.Module, batches: list[Tensor]) -> int:
    """Restores the folded normalisation layers of a network.

    Args:
        network: With layers as :mod:`mmnv3.convert` leaves folded ones.
        batches: Its inputs.

    Returns:
        How many layers were folded.
    """
    folded = [m for m in network.modules() if isinstance(m, _BatchNorm) and _folded(m)]
    # Of every batch: values of a channel, their sums, and the sums of their squares.
    measured: dict[nn.Module, list[tuple[int, Tensor, Tensor]]] = {
        norm: [] for norm in folded
    }

    def measure(norm: nn.Module, inputs: tuple[Tensor, ...]) -> None:
        x = inputs[0].double()
        sums = x.sum((0, 2, 3)), x.square().sum((0, 2, 3))
        measured[norm].append((x.numel() // x.size(1), *sums))

    hooks = [norm.register_forward_pre_hook(measure) for norm in folded]
    training = network.training
    network.eval()
    for x in batches:
        # With gradients, since without them our layers skip the normalisation.
        with torch.enable_grad():
            network(x)
    network.train(training)
    for hook in hooks:
        hook.remove()
    for norm in folded:
        counts, totals, squares = zip(*measured[norm], strict=True)
        mean = sum(totals, torch.zeros(())) / sum(counts)
        square = sum(squares, torch.zeros(())) / sum(counts)
        variance = (square - mean.square()).clamp(min=0)
        norm.get_buffer('running_mean').copy_(mean)
        norm.get_buffer('running_var').copy_(variance)
        norm.weight.copy_((variance + norm.eps).sqrt())
        norm.bias.add_(mean.to(norm.bias))
    return len(folded)


def _folded(norm: _BatchNorm) -> bool:
    """Whether it is as :mod:`mmnv3.convert` leaves it: the variance gives it away."""
    if not (norm.affine and norm.track_running_stats):
        return False
    mean, variance = norm.get_buffer('running_mean'), norm.get_buffer('running_var')
    neutral = torch.full_like(variance, 1 - norm.eps)
    return (
        torch.allclose(variance, neutral, rtol=0, atol=1e-7)
        and not mean.any()
        and bool(norm.weight.eq(1).all())
    )
