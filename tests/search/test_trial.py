"""Short trainings of all three tasks, on generated pictures."""

import errno
import math
import multiprocessing
from dataclasses import replace

import pytest
import torch
from mmengine.config import Config
from mmengine.logging import MMLogger

from mmnv3.engine.config import read_config
from mmnv3.errors import UserError
from mmnv3.search.configs import Budget, build, config_network, with_spec
from mmnv3.search.netadapt.comparison import uniform
from mmnv3.search.pool import Failure
from mmnv3.search.trial import (
    METRICS,
    Trial,
    metric_name,
    only_finite,
    run_trials,
    train_and_score,
)
from tests.search.conftest import HERE


def test_an_edited_network_is_trained_and_scored(tiny_config, tmp_path, capfd):
    edited = with_spec(tiny_config, uniform(config_network(tiny_config), 0.5).spec)
    state = {k: v.clone() for k, v in build(edited).state_dict().items()}
    trial = train_and_score(edited, Budget(3, held_out=0.25), tmp_path / 'work', state)
    assert trial.problem is None and trial.metric == METRICS[tiny_config.default_scope]
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


@pytest.mark.parametrize('tiny_config', ['mmdet'], indirect=True)
def test_no_process_that_loads_data_is_left_behind(tiny_config, tmp_path):
    """The garbage collector would wait five seconds for each."""
    before = set(multiprocessing.active_children())
    for name in ('train_dataloader', 'val_dataloader'):
        tiny_config[name].update(num_workers=1, persistent_workers=True)
    train_and_score(tiny_config, Budget(2, held_out=0.25), tmp_path)
    assert set(multiprocessing.active_children()) == before


def test_a_loss_that_is_not_a_number_is_a_result(tiny_config, tmp_path):
    state = {
        k: torch.full_like(v, torch.nan) if v.is_floating_point() else v
        for k, v in build(tiny_config).state_dict().items()
    }
    trial = train_and_score(tiny_config, Budget(2, held_out=0.25), tmp_path, state)
    assert trial.value is None and trial.state is None
    assert 'is not finite at iteration' in trial.problem


@pytest.mark.parametrize('tiny_config', ['mmdet', 'mmseg'], indirect=True)
def test_outputs_that_are_no_numbers_score_nothing(tiny_config, tmp_path):
    """Weights that are numbers may be too large for what follows."""
    state = {
        k: torch.full_like(v, 1e30) if v.is_floating_point() else v
        for k, v in build(tiny_config).state_dict().items()
    }
    trial = train_and_score(tiny_config, Budget(0, held_out=0.25), tmp_path, state)
    if tiny_config.default_scope == 'mmseg':
        assert trial.value is None and trial.state is None
        assert trial.problem.startswith('the network gives NaN for /')
    else:
        assert trial.value == 0 and trial.problem is None


@pytest.mark.parametrize('config_name', ['detection_config'])
def test_weights_that_are_no_numbers_have_no_figure(request, config_name, tmp_path):
    config = read_config(
        str(request.getfixturevalue(config_name)),
        dict(train_dataloader=HERE, val_dataloader=HERE),
    )
    state = build(config).state_dict()
    name = 'backbone.block2.project.bn.running_var'
    state[name] = torch.full_like(state[name], torch.nan)
    trial = train_and_score(config, Budget(0, held_out=0.25), tmp_path, state)
    assert trial.value is None and trial.state is None
    assert trial.problem == f'the weights {name} are not finite'


@pytest.mark.parametrize('config_name', ['detection_config'])
def test_a_network_that_finds_nothing_scores_nothing(request, config_name, tmp_path):
    config = read_config(
        str(request.getfixturevalue(config_name)),
        {
            'train_dataloader': HERE,
            'val_dataloader': HERE,
            'model.test_cfg.score_thr': 2.0,
        },
    )
    trial = train_and_score(config, Budget(0, held_out=0.25), tmp_path)
    assert trial.value == 0 and trial.problem is None


def test_only_finite_trials_keep_their_figure():
    good = Trial('mIoU', 3.0, state=dict(w=torch.ones(2), n=torch.tensor(3)))
    assert only_finite(good) is good
    for value in (math.nan, math.inf):
        assert only_finite(replace(good, value=value)).problem == f'mIoU is {value}'
        bad = only_finite(replace(good, state=dict(w=torch.tensor([1, value]))))
        assert bad.value is bad.state is None
        assert bad.problem == 'the weights w are not finite'


def test_accuracies_are_of_one():
    for metric, value in (
        ('coco/bbox_mAP', 0.25),
        ('mIoU', 25.0),
        ('accuracy/top1', 25.0),
    ):
        assert Trial(metric, value).accuracy == 0.25
    assert Trial('mIoU', None, problem='loss is nan').accuracy is None


def test_a_toolbox_that_is_none_of_the_three():
    with pytest.raises(UserError, match="default_scope='mmocr' is unknown"):
        metric_name(Config(dict(default_scope='mmocr')))


def fail(error):
    raise error


def test_what_concerns_one_training_and_what_concerns_all():
    lack = OSError(errno.ENOMEM, 'Cannot allocate memory')
    found = dict(run_trials(fail, [MemoryError('no room'), lack]))
    assert isinstance(found[0], Failure) and str(found[0]) == 'no room'
    assert found[1].error is lack
    with pytest.raises(UserError, match='no such data set'):
        list(run_trials(fail, [UserError('there is no such data set')]))
    full = OSError(errno.ENOSPC, 'No space left on device', 'some.log')
    with pytest.raises(UserError, match=r'no space left for some\.log; free some'):
        list(run_trials(fail, [full]))
    closed = PermissionError(errno.EACCES, 'Permission denied', 'some.log')
    with pytest.raises(UserError, match=r'some\.log cannot be opened \(Perm.*; give'):
        list(run_trials(fail, [closed]))
