"""Stops training when the loss or the weights are no longer numbers."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from mmengine.hooks import CheckpointHook, Hook
from mmengine.runner import EpochBasedTrainLoop, Runner

from mmnv3.errors import NotFiniteError
from mmnv3.registry import HOOKS


@HOOKS.register_module()
class StopAtNaNHook(Hook):
    """Ends training at the first loss or weight that is NaN or infinite.

    It runs before checkpoints are saved and networks validated. So the last checkpoint
    is a good one, and no network that diverged becomes the best. A step can break the
    weights whose loss was still finite; they are looked at where something follows.

    Args:
        interval: Iterations between looks at the loss; each look waits for the device.
    """

    priority = 'ABOVE_NORMAL'

    def __init__(self, interval: int = 10) -> None:
        self.interval = interval

    def after_train_iter(
        self,
        runner: Runner,
        batch_idx: int,
        data_batch: dict | None = None,
        outputs: dict | None = None,
    ) -> None:
        """Looks at every loss at the interval, and at the weights before they are used.

        Raises:
            NotFiniteError: Names the loss, or the first weight, the iteration, the
                learning rate and a remedy.
        """
        used = self._are_used(runner, batch_idx)
        if not (used or self.every_n_train_iters(runner, self.interval)):
            return
        bad = not_finite(outputs or {})
        if not bad and used:
            bad = not_finite(runner.model.state_dict())[:1]
        if bad:
            rate = runner.optim_wrapper.get_lr()
            rate = next(iter(rate.values()))[0]
            raise NotFiniteError(
                f'{", ".join(bad)} is not finite at iteration {runner.iter + 1} with '
                f'learning rate {rate:g}; lower optim_wrapper.optimizer.lr or set '
                'optim_wrapper.clip_grad, and resume from the last checkpoint'
            )

    def _are_used(self, runner: Runner, batch_idx: int) -> bool:
        """Whether a checkpoint or a validation may follow this iteration."""
        if self.is_last_train_iter(runner):
            return True
        ends = self.end_of_epoch(runner.train_dataloader, batch_idx)
        by_epoch = isinstance(runner.train_loop, EpochBasedTrainLoop)
        uses = [(by_epoch, runner.train_loop.val_interval)] + [
            (hook.by_epoch, hook.interval)
            for hook in runner.hooks
            if isinstance(hook, CheckpointHook)
        ]
        return any(
            ends and self.every_n_epochs(runner, interval)
            if in_epochs
            else self.every_n_train_iters(runner, interval)
            for in_epochs, interval in uses
        )


def not_finite(values: Mapping) -> list[str]:
    """The names of tensors that hold NaN or an infinite number."""
    return [
        name
        for name, value in values.items()
        if isinstance(value, torch.Tensor) and not torch.isfinite(value).all()
    ]
