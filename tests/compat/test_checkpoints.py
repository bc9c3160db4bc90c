"""Checkpoints of a Runner under PyTorch's safe loading."""

import pickle
from zipfile import ZipFile

import numpy as np
import pytest
import torch
from mmengine.dataset import DefaultSampler
from mmengine.evaluator import BaseMetric, Evaluator
from mmengine.logging import HistoryBuffer
from mmengine.model import BaseModel
from mmengine.runner import Runner, load_checkpoint
from torch.utils.data import DataLoader


class Line(BaseModel):
    """The least that a Runner trains."""

    def __init__(self):
        super().__init__()
        self.layer = torch.nn.Sequential(torch.nn.Linear(1, 1), torch.nn.BatchNorm1d(1))

    def forward(self, inputs, mode='tensor'):
        loss = self.layer(inputs).square().mean()
        return {'loss': loss} if mode == 'loss' else [loss]


class Score(BaseMetric):
    """A metric that comes as a NumPy scalar, as COCO's do."""

    def process(self, data_batch, data_samples):
        self.results.append(float(data_samples[0]))

    def compute_metrics(self, results):
        return {'score': np.float64(np.mean(results))}


def a_runner(work_dir, epochs: int, **kwargs) -> Runner:
    data = [{'inputs': x} for x in torch.linspace(-1, 1, 8)[:, None]]
    loader = DataLoader(data, batch_size=4, sampler=DefaultSampler(data))
    return Runner(
        model=Line(),
        work_dir=str(work_dir),
        train_dataloader=loader,
        train_cfg={'by_epoch': True, 'max_epochs': epochs, 'val_interval': 1},
        val_dataloader=loader,
        val_cfg={},
        val_evaluator=Evaluator(Score()),
        optim_wrapper={'optimizer': {'type': 'AdamW', 'lr': 0.1}},
        param_scheduler=[
            {'type': 'LinearLR', 'start_factor': 0.1, 'by_epoch': False, 'end': 3},
            {'type': 'CosineAnnealingLR', 'T_max': 4, 'by_epoch': True},
        ],
        custom_hooks=[{'type': 'EMAHook'}],
        default_hooks={
            'logger': {'type': 'LoggerHook', 'interval': 1},
            'checkpoint': {
                'type': 'CheckpointHook',
                'save_best': 'score',
                'rule': 'greater',
            },
        },
        experiment_name=f'{work_dir.name}_{epochs}',
        **kwargs,
    )


@pytest.fixture(scope='module')
def work_dir(tmp_path_factory):
    """The folder of a Runner that trained for two epochs."""
    folder = tmp_path_factory.mktemp('run')
    a_runner(folder, epochs=2).train()
    return folder


def test_a_checkpoint_loads_with_all_that_it_holds(work_dir):
    state = torch.load(next(work_dir.glob('epoch_*.pth')), weights_only=True)
    losses = state['message_hub']['log_scalars']['train/loss'].data[0]
    assert losses.shape == (4,) and np.isfinite(losses).all()
    assert {'ema_state_dict', 'optimizer', 'param_schedulers'} <= set(state)


def test_mmengine_loads_it(work_dir):
    model = Line()
    load_checkpoint(model, str(next(work_dir.glob('best_score_*.pth'))))
    assert not torch.equal(model.layer[1].running_var, torch.ones(1))


def test_training_resumes(work_dir):
    runner = a_runner(work_dir, epochs=3, resume=True)
    runner.train()
    assert runner.epoch == 3 and runner.iter == 6
    history = runner.message_hub.get_scalar('train/loss').data[0]
    assert len(history) == 6  # four of the first run, two of this one


def test_plain_loading_needs_no_more_than_the_import(work_dir, run_python):
    path = str(next(work_dir.glob('epoch_*.pth')))
    # That the order does not matter is tested with `after_import`.
    code = f'import mmnv3, torch; print(torch.load({path!r}))'
    assert 'HistoryBuffer' in run_python(code)


def test_checkpoints_of_numpy_1_load(tmp_path):
    new, old = tmp_path / 'new.pth', tmp_path / 'old.pth'
    torch.save({'best': np.float32(0.5), 'curve': np.arange(3.0)}, new)
    with ZipFile(new) as source, ZipFile(old, 'w') as target:
        for name in source.namelist():
            content = source.read(name).replace(b'numpy._core.', b'numpy.core.')
            target.writestr(name, content)
    assert b'numpy.core.multiarray' in old.read_bytes()
    state = torch.load(old, weights_only=True)
    assert state['best'] == 0.5 and state['curve'].tolist() == [0, 1, 2]


class Foreign:
    """A class that no checkpoint of ours holds."""


@pytest.mark.parametrize('load', [torch.load, lambda p: load_checkpoint(Line(), p)])
def test_anything_else_is_still_refused(tmp_path, load):
    path = str(tmp_path / 'foreign.pth')
    torch.save({'state_dict': {}, 'extra': Foreign()}, path)
    with pytest.raises(pickle.UnpicklingError, match='Foreign'):
        load(path)


class Reach:
    """Pickles as `getattr(owner, name)`."""

    def __init__(self, owner: type, name: str):
        self.reduced = getattr, (owner, name)

    def __reduce__(self):
        return self.reduced


@pytest.mark.parametrize(
    ('owner', 'name'), [(HistoryBuffer, '__init__'), (np.ndarray, 'tofile')]
)
def test_getattr_reaches_nothing_but_statistics(tmp_path, owner, name):
    torch.save(Reach(HistoryBuffer, 'mean'), tmp_path / 'own.pth')
    assert torch.load(tmp_path / 'own.pth') is HistoryBuffer.mean
    torch.save(Reach(owner, name), tmp_path / 'foreign.pth')
    with pytest.raises(pickle.UnpicklingError, match=name):
        torch.load(tmp_path / 'foreign.pth')
