"""Lets a trained network teach another one while that trains."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from mmengine.hooks import Hook
from mmengine.model import is_model_wrapper
from mmengine.runner import Runner
from torch import Tensor, nn
from torch.nn import functional as F

from mmnv3.engine.build import build_model, output_tensors
from mmnv3.errors import UserError
from mmnv3.registry import HOOKS

# The part of a toolbox's model whose outputs are compared.
_HEADS = ('bbox_head', 'decode_head', 'head')


@HOOKS.register_module()
class DistillationHook(Hook):
    """Adds to the loss how far a network's raw outputs are from a teacher's.

    That is the mean squared difference of the logits and box offsets before any
    sigmoid or softmax (Ba and Caruana, 2014), which suits any of the heads. The
    teacher sees the same augmented pictures. Checkpoints hold nothing of it.

    Args:
        config: The teacher's config, of the same task with outputs of the same shapes.
        checkpoint: Its weights.
        weight: Of the difference in the loss.

    Raises:
        UserError: When the checkpoint does not fit its config.
    """

    def __init__(self, config: str, checkpoint: str, weight: float = 1.0) -> None:
        self.config, self.checkpoint, self.weight = config, checkpoint, weight
        self._covered: list[tuple[nn.Module, str]] = []

    def before_train(self, runner: Runner) -> None:
        """Reads the teacher, and has the model's loss ask it.

        Raises:
            UserError: When the model has no head whose outputs could be compared.
        """
        model: Any = runner.model
        model = model.module if is_model_wrapper(model) else model
        name = next((name for name in _HEADS if hasattr(model, name)), None)
        if name is None:
            raise UserError(
                f'{type(model).__name__} has none of {", ".join(_HEADS)}, whose '
                'outputs a teacher could judge; leave mmnv3.DistillationHook out'
            )
        # Not a part of the model, and so not of its checkpoints.
        teacher: Any = build_model(self.config, None, self.checkpoint)
        teacher.requires_grad_(False).to(next(model.parameters()).device)
        outputs: list[Tensor] = []
        head, loss = getattr(model, name), model.loss
        forward = head.forward

        def remember(*args: Any, **kwargs: Any) -> Any:
            found = forward(*args, **kwargs)
            outputs[:] = output_tensors(found)
            return found

        def taught(inputs: Tensor, *args: Any, **kwargs: Any) -> dict[str, Tensor]:
            losses = loss(inputs, *args, **kwargs)
            with torch.no_grad():
                wanted = list(output_tensors(teacher(inputs, mode='tensor')))
            _check_shapes(outputs, wanted, self.config)
            # Of all outputs together: a mean of means would favour small maps.
            difference = sum(
                F.mse_loss(mine.float(), other.float(), reduction='sum')
                for mine, other in zip(outputs, wanted)
            )
            count = sum(map(torch.numel, wanted))
            outputs.clear()
            return dict(losses, loss_distillation=self.weight * difference / count)

        # Some heads are called, and of others the method.
        head.forward, model.loss = remember, taught
        self._covered = [(head, 'forward'), (model, 'loss')]

    def after_train(self, runner: Runner) -> None:
        """Leaves the model as it was."""
        for module, name in self._covered:
            # The method of its class is there again.
            module.__dict__.pop(name, None)
        self._covered = []


def _check_shapes(
    outputs: Sequence[Tensor], wanted: Sequence[Tensor], config: str
) -> None:
    mine, other = ([tuple(each.shape) for each in side] for side in (outputs, wanted))
    if mine != other:
        raise UserError(
            f'the teacher of {config} gives outputs of {other}, and the model of '
            f'{mine}; a teacher has the same classes, anchors and input size'
        )
