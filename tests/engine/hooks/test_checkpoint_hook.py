"""What a training leaves when it is killed at its worst moments, and how it goes on."""

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from mmengine.dataset import DefaultSampler
from mmengine.evaluator import BaseMetric, Evaluator
from mmengine.model import BaseModel
from mmengine.runner import Runner
from torch.utils.data import DataLoader

from mmnv3.engine.hooks.checkpoint_hook import AtomicBackend

# Of the validations, by iteration.
SCORES = {2: 0.5, 4: 0.7, 6: 0.6, 8: 0.9}


class Killed(BaseException):
    """Stands for the end of a process."""


class Line(BaseModel):
    """The least that a Runner trains."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = torch.nn.Linear(1, 1)

    def forward(self, inputs: torch.Tensor, mode: str = 'tensor') -> object:
        loss = self.layer(inputs).square().mean()
        return {'loss': loss} if mode == 'loss' else [loss]


class Score(BaseMetric):
    """The score of an iteration; notes which were validated, and may be killed."""

    def __init__(self, killed_at: int | None = None) -> None:
        super().__init__()
        self.validated: list[int] = []
        self.killed_at = killed_at

    def process(self, data_batch: object, data_samples: object) -> None:
        self.results.append(0)

    def compute_metrics(self, results: list) -> dict[str, float]:
        iteration = self.runner.iter
        if iteration == self.killed_at:
            raise Killed
        self.validated.append(iteration)
        return {'score': SCORES[iteration], 'loss': 1 - SCORES[iteration]}


Train = Callable[..., Score]


@pytest.fixture
def train(tmp_path: Path) -> Train:
    """Trains for 8 iterations with a validation at every second, or goes on."""
    count = 0

    def run(
        resume: str | None = None, killed_at: int | None = None, **checkpoint: object
    ) -> Score:
        nonlocal count
        count += 1
        data = [{'inputs': x} for x in torch.linspace(-1, 1, 8)[:, None]]
        loader = DataLoader(data, batch_size=4, sampler=DefaultSampler(data))
        metric = Score(killed_at)
        runner = Runner(
            model=Line(),
            work_dir=str(tmp_path),
            train_dataloader=loader,
            train_cfg={'max_iters': 8, 'val_interval': 2, 'by_epoch': False},
            val_dataloader=loader,
            val_cfg={},
            val_evaluator=Evaluator(metric),
            optim_wrapper={'optimizer': {'type': 'SGD', 'lr': 0.1}},
            param_scheduler=[{'type': 'LinearLR', 'by_epoch': False, 'end': 3}],
            default_hooks={
                'checkpoint': {
                    'type': 'mmnv3.AtomicCheckpointHook',
                    'interval': 2,
                    'save_best': 'score',
                    'rule': 'greater',
                    **checkpoint,
                },
            },
            experiment_name=f'{tmp_path.name}_{count}',
            load_from=resume and str(tmp_path / resume),
            resume=resume is not None,
            randomness={'seed': 0},
        )
        metric.runner = runner
        runner.train()
        return metric

    return run


@pytest.fixture(autouse=True)
def no_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    """mmengine waits for two seconds between epochs of a finite loader."""
    monkeypatch.setattr('time.sleep', lambda _: None)


def kill_at(monkeypatch: pytest.MonkeyPatch, method: str, name: str) -> None:
    """Kills the training when it is about to write, or remove, a file."""
    whole = getattr(AtomicBackend, method)

    def dies(self: AtomicBackend, *args: object) -> None:
        if Path(str(args[-1])).name == name:
            raise Killed
        whole(self, *args)

    monkeypatch.setattr(AtomicBackend, method, dies)


def best_of(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.glob('best_*'))


def numbered(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.glob('iter_*'))


def test_a_whole_training_keeps_one_best_file(train: Train, tmp_path: Path) -> None:
    assert train(max_keep_ckpts=2).validated == [2, 4, 6, 8]
    assert best_of(tmp_path) == ['best_score_iter_8.pth']
    assert numbered(tmp_path) == ['iter_6.pth', 'iter_8.pth']


def test_a_kill_while_the_best_is_written_leaves_the_one_before(
    train: Train, tmp_path: Path
) -> None:
    with pytest.MonkeyPatch.context() as patch:
        kill_at(patch, 'put', 'best_score_iter_4.pth')
        with pytest.raises(Killed):
            train()
    assert best_of(tmp_path) == ['best_score_iter_2.pth']
    assert train('iter_4.pth').validated == [4, 6, 8]
    assert best_of(tmp_path) == ['best_score_iter_8.pth']


def test_a_kill_in_a_validation_makes_up_for_it(train: Train, tmp_path: Path) -> None:
    with pytest.raises(Killed):
        train(killed_at=4)
    with pytest.raises(Killed):
        train('iter_4.pth', killed_at=6)
    assert best_of(tmp_path) == ['best_score_iter_4.pth']
    # What its validation found is noted in the checkpoint, as without a kill.
    hub = torch.load(tmp_path / 'iter_4.pth', weights_only=True)['message_hub']
    assert hub['runtime_info']['best_score'] == 0.7
    assert train('iter_4.pth').validated == [6, 8]


def test_the_last_validation_is_made_up_for(train: Train, tmp_path: Path) -> None:
    with pytest.raises(Killed):
        train(killed_at=8)
    assert train('iter_8.pth').validated == [8]
    assert best_of(tmp_path) == ['best_score_iter_8.pth']


def test_a_kill_before_the_old_best_is_removed_leaves_two_for_a_while(
    train: Train, tmp_path: Path
) -> None:
    with pytest.MonkeyPatch.context() as patch:
        kill_at(patch, 'remove', 'best_score_iter_2.pth')
        with pytest.raises(Killed):
            train()
    assert len(best_of(tmp_path)) == 2
    with pytest.raises(Killed):
        train('iter_4.pth', killed_at=8)
    assert best_of(tmp_path) == ['best_score_iter_4.pth']


def test_whoever_goes_back_keeps_the_other_course(train: Train, tmp_path: Path) -> None:
    train()
    with pytest.raises(Killed):
        train('iter_2.pth', killed_at=6)
    assert best_of(tmp_path) == ['best_score_iter_4.pth', 'best_score_iter_8.pth']


def test_a_kill_while_a_checkpoint_is_written_leaves_the_one_before(
    train: Train, tmp_path: Path
) -> None:
    with pytest.MonkeyPatch.context() as patch:
        kill_at(patch, 'put', 'iter_4.pth')
        with pytest.raises(Killed):
            train(max_keep_ckpts=1)
    assert numbered(tmp_path) == ['iter_2.pth']
    train('iter_2.pth', max_keep_ckpts=1)
    assert numbered(tmp_path) == ['iter_8.pth']


def test_two_metrics_have_a_best_file_each(train: Train, tmp_path: Path) -> None:
    train(save_best=['score', 'loss'], rule=['greater', 'less'])
    # The loss is 1 less the score.
    assert best_of(tmp_path) == ['best_loss_iter_8.pth', 'best_score_iter_8.pth']
