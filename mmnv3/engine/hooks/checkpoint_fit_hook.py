"""Refuses a checkpoint that is not the model's."""

from __future__ import annotations

import logging

from mmengine.hooks import Hook
from mmengine.logging import print_log
from mmengine.model import BaseTTAModel, is_model_wrapper
from mmengine.runner import BaseLoop, Runner

from mmnv3.engine.checkpoints import (
    check_training_state,
    compare_states,
    compare_training,
    describe_older_anchors,
    take_state,
)
from mmnv3.errors import UserError
from mmnv3.registry import HOOKS


@HOOKS.register_module()
class CheckpointFitHook(Hook):
    """Compares a checkpoint with the model before mmengine loads what happens to fit.

    Testing and resuming need every weight: anything missing, unknown or of another
    shape (as from another ``num_classes`` or architecture) is an error. Fine-tuning
    from ``load_from`` may leave a head behind: it warns, and fails only when nothing
    at all fits. A checkpoint of another project is converted first.
    """

    def after_load_checkpoint(self, runner: Runner, checkpoint: dict) -> None:
        """Checks the checkpoint.

        Raises:
            UserError: Names the file, the first key of every kind, and the remedy.
        """
        name = runner._load_from or 'the checkpoint'
        # mmengine then loads exactly what is compared here.
        state = take_state(checkpoint, name)
        checkpoint['state_dict'] = state
        trains = isinstance(runner._train_loop, BaseLoop)
        resumes = trains and runner._resume
        if resumes:
            check_training_state(checkpoint, name)
        model = runner.model
        # mmengine looks for the weights inside of these.
        while is_model_wrapper(model) or isinstance(model, BaseTTAModel):
            model = model.module
        if older := describe_older_anchors(model, checkpoint.get('meta') or {}):
            print_log(f'{name}: {older}', logger='current', level=logging.WARNING)
        wanted = model.state_dict()
        differences = compare_states(wanted, state)
        if differences and not resumes:
            # It knows all of our networks, and so imports every toolbox.
            from mmnv3.convert.foreign import convert_for

            if found := convert_for(model, state, name, keeps_classes=trains):
                converted, remarks = found
                checkpoint['state_dict'] = state = converted.state
                differences = compare_states(wanted, state)
                print_log(f'{name} holds {converted.network}', logger='current')
                for text in remarks:
                    print_log(text, logger='current', level=logging.WARNING)
        if not differences:
            # Another network has other parameter groups, and is told first.
            if resumes:
                _refuse_other_training(runner, checkpoint, name)
            return
        if (
            trains
            and not resumes
            and not differences.mistyped
            and any(
                key in state and state[key].shape == wanted[key].shape for key in wanted
            )
        ):
            print_log(
                f'{name} fits in part ({differences}); these keep their '
                f'initialisation: {", ".join(differences.layers)}',
                logger='current',
                level=logging.WARNING,
            )
            return
        raise UserError(
            f'{name} does not fit this config: {differences}; use the config and '
            'num_classes it was trained with'
        )


def _refuse_other_training(runner: Runner, checkpoint: dict, name: str) -> None:
    """Refuses to go on with another optimiser or other schedulers.

    Raises:
        UserError: Names what differs, and the remedy.
    """
    schedulers = runner.param_schedulers or []
    wanted = dict(
        optimizer=runner.optim_wrapper.state_dict(),
        param_schedulers=_states(schedulers),
    )
    if found := compare_training(wanted, checkpoint):
        raise UserError(
            f'{name} is of a training with another config: {found}; resume with the '
            'config it was trained with, or start from its weights with '
            f'--cfg-options load_from={name} instead of --resume'
        )


def _states(schedulers: list | dict) -> list | dict:
    if isinstance(schedulers, dict):
        return {name: _states(each) for name, each in schedulers.items()}
    return [scheduler.state_dict() for scheduler in schedulers]
