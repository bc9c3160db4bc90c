"""When the losses are looked at, and what is said of one that is no number."""

from collections.abc import Iterable
from types import SimpleNamespace

import pytest
import torch
from mmengine.hooks import CheckpointHook, Hook

from mmnv3.engine import AtomicCheckpointHook, StopAtNaNHook
from mmnv3.errors import UserError

EPOCH = 7


def run(
    hook: StopAtNaNHook,
    hooks: Iterable[Hook],
    iterations: int,
    bad: int | None = None,
    val_interval: int = 1000,
    broken: int | None = None,
) -> list[int]:
    """Trains in epochs of seven iterations; returns those whose loss was looked at.

    The loss is NaN from iteration `bad` on, a weight from `broken` on.
    """
    looked = []

    class Loss(dict):
        def items(self):
            looked.append(runner.iter + 1)
            return super().items()

    runner = SimpleNamespace(
        iter=0,
        epoch=0,
        max_iters=iterations,
        hooks=[hook, *hooks],
        train_dataloader=range(EPOCH),
        train_loop=SimpleNamespace(val_interval=val_interval),
        model=torch.nn.BatchNorm1d(1),
        optim_wrapper=SimpleNamespace(get_lr=lambda: dict(lr=[0.5])),
    )
    for index in range(iterations):
        runner.iter, runner.epoch = index, index // EPOCH
        value = torch.tensor(float('nan') if index + 1 == bad else 1.0)
        if index + 1 == broken:
            runner.model.running_var.fill_(float('inf'))
        hook.after_train_iter(runner, index % EPOCH, outputs=Loss(loss=value))
    return looked


def test_at_its_interval_and_at_the_end() -> None:
    assert run(StopAtNaNHook(10), [], 23) == [10, 20, 23]


def test_where_a_checkpoint_by_iteration_follows() -> None:
    hooks = [AtomicCheckpointHook(interval=8), CheckpointHook(interval=-1)]
    assert run(StopAtNaNHook(10), hooks, 21) == [8, 10, 16, 20, 21]


@pytest.mark.parametrize(
    ('interval', 'looked'), [(1, [7, 14, 20, 21, 28]), (2, [14, 20, 28])]
)
def test_where_a_checkpoint_by_epoch_follows(interval: int, looked: list[int]) -> None:
    hooks = [CheckpointHook(interval=interval, by_epoch=True)]
    assert run(StopAtNaNHook(20), hooks, 28) == looked


def test_the_iteration_and_the_remedy_are_named() -> None:
    with pytest.raises(
        UserError, match=r'^loss is not finite at iteration 10 .*rate 0\.5; lower'
    ):
        run(StopAtNaNHook(5), [], 20, bad=10)


def test_where_a_validation_follows() -> None:
    assert run(StopAtNaNHook(10), [], 13, val_interval=4) == [4, 8, 10, 12, 13]


def test_weights_are_looked_at_before_they_are_used() -> None:
    hooks = [AtomicCheckpointHook(interval=8)]
    with pytest.raises(
        UserError, match=r'^running_var is not finite at iteration 8 .*resume from the'
    ):
        run(StopAtNaNHook(3), hooks, 20, broken=5)
