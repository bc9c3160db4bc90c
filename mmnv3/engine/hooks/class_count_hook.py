"""Refuses a head and a data set that disagree about the classes."""

from __future__ import annotations

from mmdet.engine.hooks import NumClassCheckHook
from mmengine.runner import Runner

from mmnv3.errors import UserError
from mmnv3.registry import HOOKS


@HOOKS.register_module()
class ClassCountHook(NumClassCheckHook):
    """mmdet's ``NumClassCheckHook``, whose finding a person can mend and so reads."""

    def _check_head(self, runner: Runner, mode: str) -> None:
        """Compares the model's heads with the data set of a mode.

        Raises:
            UserError: Names both numbers.
        """
        loader = runner.train_dataloader if mode == 'train' else runner.val_dataloader
        if loader.dataset.metainfo is None:
            # mmpretrain's vis_scheduler.py steps through a training without data.
            return
        try:
            super()._check_head(runner, mode)
        except AssertionError as error:
            raise UserError(
                f'{error}: set num_classes and metainfo.classes ({mode})'
            ) from None
