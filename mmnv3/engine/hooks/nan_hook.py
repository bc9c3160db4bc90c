"""Stops training when the loss is no longer a number."""

from __future__ import annotations

import torch
from mmengine.hooks import CheckpointHook, Hook
from mmengine.runner import Runner

from mmnv3.errors import UserError
from mmnv3.registry import HOOKS


@HOOKS.register_module()
class StopAtNaNHook(Hook):
    """Ends training at the first loss that is NaN or infinite.

    It runs before checkpoints are saved, so the last checkpoint is a good one.

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
        """Looks at every loss, at the interval and wherever a checkpoint may follow.

        Raises:
            UserError: Names the loss, the iteration, the learning rate and a remedy.
        """
        if not self._is_due(runner, batch_idx):
            return
        bad = [
            name
            for name, value in (outputs or {}).items()
            if isinstance(value, torch.Tensor) and not torch.isfinite(value).all()
        ]
        if bad:
            rate = runner.optim_wrapper.get_lr()
            rate = next(iter(rate.values()))[0]
            raise UserError(
                f'{", ".join(bad)} is not finite at iteration {runner.iter + 1} with '
                f'learning rate {rate:g}; lower optim_wrapper.optimizer.lr or set '
                'optim_wrapper.clip_grad, and resume from the last checkpoint'
            )

    def _is_due(self, runner: Runner, batch_idx: int) -> bool:
        if self.is_last_train_iter(runner):
            return True
        if self.every_n_train_iters(runner, self.interval):
            return True
        ends = self.end_of_epoch(runner.train_dataloader, batch_idx)
        return any(
            ends and self.every_n_epochs(runner, hook.interval)
            if hook.by_epoch
            else self.every_n_train_iters(runner, hook.interval)
            for hook in runner.hooks
            if isinstance(hook, CheckpointHook)
        )
