"""Stops training when the loss is no longer a number."""

from __future__ import annotations

import torch
from mmengine.hooks import Hook
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
        checkpoints = [hook for hook in runner.hooks if hasattr(hook, 'max_keep_ckpts')]
        due = [self.interval, *(hook.interval for hook in checkpoints)]
        last = runner.iter + 1 == runner.max_iters
        if not last and all((runner.iter + 1) % step for step in due if step > 0):
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
