"""Short trainings of all three tasks, on generated pictures."""

from pathlib import Path

import pytest
import torch
from mmengine.config import Config
from mmengine.logging import MMLogger

from mmnv3.engine.config import read_config
from mmnv3.errors import UserError
from mmnv3.search.netadapt.configs import build, config_spec, with_spec
from mmnv3.search.netadapt.multipliers import uniform
from mmnv3.search.runs import METRICS, Budget, metric_name, train_and_score
from mmnv3.search.short_config import (
    dataset_length,
    held_out_indices,
    short_config,
)
from tests.conftest import ROOT
from tests.engine.conftest import config as detection_config
from tests.engine.conftest import demo_data
from tests.engine.test_classification_training import folder as imagenet
from tests.engine.test_segmentation_training import segmentation_config

__all__ = ['demo_data', 'detection_config', 'imagenet', 'segmentation_config']

HERE = dict(num_workers=0, persistent_workers=False)


@pytest.fixture(params=['mmdet', 'mmseg', 'mmpretrain'])
def config(request) -> Config:
    path = {
        'mmdet': lambda: request.getfixturevalue('config_of_detection'),
        'mmseg': lambda: request.getfixturevalue('segmentation_config'),
        'mmpretrain': lambda: request.getfixturevalue('imagenet') / 'tiny.py',
    }[request.param]()
    return read_config(str(path), dict(train_dataloader=HERE, val_dataloader=HERE))


@pytest.fixture
def config_of_detection(request) -> Path:
    return request.getfixturevalue('detection_config')


def test_an_edited_network_is_trained_and_scored(config, tmp_path, capfd):
    edited = with_spec(config, uniform(config_spec(config), 0.5))
    state = {k: v.clone() for k, v in build(edited).state_dict().items()}
    trial = train_and_score(edited, Budget(3, held_out=0.25), tmp_path / 'work', state)
    assert trial.problem is None and trial.metric == METRICS[config.default_scope]
    assert trial.value == trial.metrics[trial.metric] >= 0
    assert trial.state.keys() == state.keys()
    name = 'backbone.block1.project.conv.weight'
    assert not torch.equal(trial.state[name], state[name])
    # Quiet, and nothing but logs is left.
    assert 'mmengine' not in capfd.readouterr().out
    kinds = {p.suffix for p in (tmp_path / 'work').rglob('*') if p.is_file()}
    assert '.log' in kinds and kinds <= {'.log', '.json', '.py'}
    # The logger outlives the run, and must not write to its closed file.
    assert not MMLogger.get_current_instance().handlers
    # To score is no training, and gives the same figure again.
    scored = [
        train_and_score(
            edited, Budget(0, held_out=0.25), tmp_path / 'score', trial.state
        )
        for _ in range(2)
    ]
    assert scored[0].value == scored[1].value == pytest.approx(trial.value, abs=1e-6)
    assert all(torch.equal(scored[0].state[k], v) for k, v in trial.state.items())


def test_the_held_out_pictures_are_of_the_training_set_and_not_trained_on(config):
    count = dataset_length(config)
    short = short_config(config, Budget(4, held_out=0.25), 'nowhere')
    train, held = short.train_dataloader.dataset, short.val_dataloader.dataset
    assert sorted([*train.indices, *held.indices]) == list(range(count))
    assert len(held.indices) == round(count / 4)
    for name in ('data_root', 'ann_file', 'data_prefix', 'filter_cfg', 'type'):
        assert train.get(name) == held.get(name)
    assert held.pipeline[-1].type == config.val_dataloader.dataset.pipeline[-1].type
    assert 'ann_file' not in short.val_evaluator
    everything = short_config(config, Budget(4, held_out=0), 'nowhere')
    assert everything.val_dataloader == config.val_dataloader


def test_held_out_indices_are_a_seeded_fraction():
    chosen = held_out_indices(100, 0.2, seed=1)
    assert chosen == held_out_indices(100, 0.2, seed=1) != held_out_indices(100, 0.2)
    assert len(set(chosen)) == 20 and max(chosen) < 100
    for fraction in (0.001, 0.999):
        with pytest.raises(UserError, match='leaves some to train on'):
            held_out_indices(100, fraction)


def schedule(name: str, iterations: int, monkeypatch, **budget) -> Config:
    monkeypatch.setattr('mmnv3.search.short_config._count_samples', lambda *_: 1280)
    config = read_config(f'{ROOT}/configs/{name}.py')
    return short_config(config, Budget(iterations, **budget), 'nowhere')


def test_schedules_are_compressed(monkeypatch):
    # 100 of 3000 iterations warm up, the others are a cosine.
    short = schedule('ssdlite_mnv3_small_bccd', 300, monkeypatch, rate=0.1)
    warm, cosine = short.param_scheduler
    assert (warm['begin'], warm['end']) == (0, 10)
    assert (cosine['begin'], cosine['end'], cosine['T_max']) == (10, 300, 290)
    assert short.optim_wrapper.optimizer.lr == pytest.approx(0.005)
    assert short.train_cfg == dict(
        type='IterBasedTrainLoop', max_iters=300, val_interval=300
    )
    assert short.default_hooks.checkpoint is None
    # So short that no warm-up is left.
    short = schedule('ssdlite_mnv3_small_bccd', 10, monkeypatch)
    assert [s['type'] for s in short.param_scheduler] == ['CosineAnnealingLR']
    # 1000 epochs of 10 iterations become 500 iterations.
    short = schedule('mnv3_small_imagenet', 500, monkeypatch)
    warm, steps = short.param_scheduler
    assert (warm['end'], warm['by_epoch']) == (2, False)
    assert (steps['step_size'], steps['by_epoch']) == (2, False)
    assert not [h for h in short.custom_hooks if 'EMA' in h['type']]
    assert short.train_dataloader.sampler['type'] == 'InfiniteSampler'


def test_a_loss_that_is_not_a_number_is_a_result(config, tmp_path):
    state = {
        k: torch.full_like(v, torch.nan) if v.is_floating_point() else v
        for k, v in build(config).state_dict().items()
    }
    trial = train_and_score(config, Budget(2, held_out=0.25), tmp_path, state)
    assert trial.value is None and trial.state is None
    assert 'is not finite at iteration' in trial.problem


def test_impossible_budgets_and_toolboxes():
    for wrong in (
        dict(iterations=-1),
        dict(iterations=1, rate=0),
        dict(iterations=1, held_out=1),
    ):
        with pytest.raises(UserError, match='is impossible; possible'):
            Budget(**wrong)
    with pytest.raises(UserError, match="default_scope='mmocr' is unknown"):
        metric_name(Config(dict(default_scope='mmocr')))
