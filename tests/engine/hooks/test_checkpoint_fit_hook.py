"""A checkpoint goes into the training that it is of, and is refused elsewhere."""

from __future__ import annotations

from itertools import count
from pathlib import Path
from typing import Any

import pytest
import torch
from mmengine.model import BaseModel
from mmengine.runner import Runner
from safetensors.torch import save_file

from mmnv3.errors import UserError

SGD = dict(type='SGD', lr=0.1, momentum=0.9)
NUMBERS = count()
WARMUP = dict(type='LinearLR', by_epoch=False, end=3)


class Line(BaseModel):
    """The least that a Runner trains."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = torch.nn.Linear(1, 1)
        self.scale = torch.nn.Parameter(torch.ones(1))

    def forward(self, inputs: torch.Tensor, mode: str = 'tensor') -> dict:
        return {'loss': (self.scale * self.layer(inputs)).square().mean()}


def train(
    folder: Path,
    load_from: Path | None = None,
    resume: bool = False,
    optimizer: dict = SGD,
    schedulers: Any = (WARMUP,),
    iterations: int = 2,
) -> dict[str, torch.Tensor]:
    """Trains a few iterations from a checkpoint.

    Returns:
        The weights that it ends with.
    """
    torch.manual_seed(0)
    runner = Runner(
        model=Line(),
        work_dir=str(folder / 'work'),
        train_dataloader=dict(
            dataset=[{'inputs': x} for x in torch.linspace(-1, 1, 32)[:, None]],
            batch_size=4,
            sampler=dict(type='DefaultSampler', shuffle=False),
            collate_fn=dict(type='default_collate'),
        ),
        train_cfg=dict(max_iters=iterations, by_epoch=False),
        optim_wrapper=dict(optimizer=optimizer),
        param_scheduler=list(schedulers) or None,
        custom_hooks=[dict(type='mmnv3.CheckpointFitHook')],
        default_hooks=dict(
            checkpoint=dict(type='CheckpointHook', by_epoch=False, interval=2)
        ),
        experiment_name=f'{folder.name}_{next(NUMBERS)}',
        load_from=load_from and str(load_from),
        resume=resume,
        randomness=dict(seed=0),
    )
    runner.train()
    return runner.model.state_dict()


@pytest.fixture
def trained(tmp_path: Path) -> Path:
    train(tmp_path)
    return tmp_path / 'work' / 'iter_2.pth'


def test_its_own_training_goes_on(trained: Path, tmp_path: Path) -> None:
    whole = train(tmp_path / 'whole', iterations=4)
    resumed = train(tmp_path, trained, resume=True, iterations=4)
    for key, value in whole.items():
        assert torch.equal(resumed[key], value), key


@pytest.mark.parametrize(
    ('other', 'message'),
    [
        (dict(optimizer=dict(type='AdamW', lr=0.1)), 'groups have the settings damp'),
        (dict(schedulers=()), 'it has 1 schedulers, and this config 0'),
        (dict(schedulers=(WARMUP, WARMUP)), 'it has 1 schedulers, and this config 2'),
    ],
)
def test_another_training_does_not_go_on_from_it(
    trained: Path, tmp_path: Path, other: dict, message: str
) -> None:
    before = trained.read_bytes()
    with pytest.raises(
        UserError,
        match=rf'iter_2\.pth is of a training with another config: .*{message}.*; '
        r'.*load_from=\S+iter_2\.pth instead of --resume$',
    ) as error:
        train(tmp_path, trained, resume=True, iterations=4, **other)
    assert '\n' not in str(error.value)
    assert trained.read_bytes() == before
    # The remedy.
    train(tmp_path, trained, iterations=4, **other)


def test_a_training_starts_from_safetensors(tmp_path: Path) -> None:
    state = {key: value + 3 for key, value in Line().state_dict().items()}
    path = tmp_path / 'a.safetensors'
    save_file(state, path)
    still = dict(SGD, lr=0.0)
    found = train(tmp_path, path, optimizer=still)
    for key, value in state.items():
        assert torch.equal(found[key], value), key
    with pytest.raises(UserError, match=r'a\.safetensors holds weights and not where'):
        train(tmp_path, path, resume=True)


def test_no_training_starts_from_whole_numbers(trained: Path, tmp_path: Path) -> None:
    content = torch.load(trained, weights_only=True)
    content['state_dict']['scale'] = torch.ones(1, dtype=torch.int8)
    torch.save(content, trained)
    for resume in (False, True):
        with pytest.raises(UserError, match=r'\(scale is int8, wanted float32\)'):
            train(tmp_path, trained, resume=resume, iterations=4)
