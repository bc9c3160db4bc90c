"""Refuses a checkpoint that is not the model's."""

from __future__ import annotations

import logging
import re
from collections.abc import Mapping

from mmengine.hooks import Hook
from mmengine.logging import print_log
from mmengine.model import is_model_wrapper
from mmengine.runner import BaseLoop, Runner
from torch import Tensor

from mmnv3.errors import UserError
from mmnv3.registry import HOOKS


def describe_misfit(
    wanted: Mapping[str, Tensor], given: Mapping[str, Tensor]
) -> tuple[str, int]:
    """Compares a checkpoint with a model.

    Args:
        wanted: The model's state dict.
        given: The checkpoint's.

    Returns:
        What does not fit in one line, empty when all does, and the number of keys
        that fit.
    """
    shapes = [
        f'{key} is {tuple(given[key].shape)} in the file and '
        f'{tuple(wanted[key].shape)} in the model'
        for key in wanted
        if key in given and given[key].shape != wanted[key].shape
    ]
    missing = [key for key in wanted if key not in given]
    unexpected = [key for key in given if key not in wanted]
    parts = [
        f'{len(found)} {kind} ({found[0]}{", …" if len(found) > 1 else ""})'
        for kind, found in (
            ('of another shape', shapes),
            ('missing in the file', missing),
            ('unknown to the model', unexpected),
        )
        if found
    ]
    fitting = len(wanted) - len(missing) - len(shapes)
    return '; '.join(parts), fitting


@HOOKS.register_module()
class CheckpointFitHook(Hook):
    """Compares a checkpoint with the model before mmengine loads what happens to fit.

    Testing and resuming need every weight: anything missing, unknown or of another
    shape (as from another ``num_classes`` or architecture) is an error. Fine-tuning
    from ``load_from`` may leave a head behind: it warns, and fails only when nothing
    at all fits.
    """

    def after_load_checkpoint(self, runner: Runner, checkpoint: dict) -> None:
        """Checks the checkpoint.

        Raises:
            UserError: Names the file, the first key of every kind, and the remedy.
        """
        name = runner._load_from or 'the checkpoint'
        given = checkpoint.get('state_dict', checkpoint)
        if not isinstance(given, Mapping) or not given:
            raise UserError(
                f'{name} holds no state_dict; give a checkpoint of training'
            )
        model = runner.model.module if is_model_wrapper(runner.model) else runner.model
        misfit, fitting = describe_misfit(
            model.state_dict(),
            {
                re.sub(r'^module\.', '', key): value
                for key, value in given.items()
                if isinstance(value, Tensor)
            },
        )
        if not misfit:
            return
        resuming = runner._resume
        fine_tuning = isinstance(runner._train_loop, BaseLoop) and not resuming
        if fine_tuning and fitting:
            print_log(
                f'{name} fits in part, the rest keeps its initialisation: {misfit}',
                logger='current',
                level=logging.WARNING,
            )
            return
        raise UserError(
            f'{name} does not fit this config: {misfit}; use the config and '
            'num_classes it was trained with'
        )
