"""The loop: what it finds, what it leaves, and what goes wrong."""

import errno
import json
import math
import os
import shutil
import signal
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from mmnv3.errors import UserError
from mmnv3.search.configs import Budget
from mmnv3.search.folder import Folder
from mmnv3.search.netadapt.search import adapt, read_steps, step_name
from mmnv3.search.trial import Trial
from tests.search.netadapt.oracle import (
    LATENCY,
    SEED,
    attempt,
    madds,
    search,
    search_until_killed,
)
from tests.tools import fork


def test_every_step_cuts_delta_and_is_stored(tmp_path):
    steps, folder = adapt(search(tmp_path)), Folder(tmp_path)
    latencies = [step.winner.latency_us for step in steps]
    assert latencies[0] == LATENCY and latencies[-1] <= 0.8 * LATENCY
    for before, after in zip(latencies[:-1], latencies[1:-1]):
        assert before - after >= 0.04 * LATENCY
    rows = json.loads((tmp_path / 'frontier.json').read_text())
    assert [row['latency_us'] for row in rows] == latencies
    for step in steps[1:]:
        name = step_name(step.number)
        assert madds(folder.read_spec(f'{name}/spec.json')) == step.winner.latency_us
        assert folder.read_weights(f'{name}/weights.pth')
        assert not list((tmp_path / name).glob('proposal_*.pth'))
    assert list(read_steps(folder)) == steps


def test_criteria_choose_as_they_say(tmp_path):
    for criterion in ('ratio', 'accuracy'):
        steps = adapt(search(tmp_path / criterion, criterion=criterion))
        before, step = steps[0].winner, steps[1]
        everything = [step.winner, *step.others]
        best = max(
            everything,
            key=lambda p: (
                p.accuracy
                if criterion == 'accuracy'
                else (p.accuracy - before.accuracy) / (before.latency_us - p.latency_us)
            ),
        )
        assert step.winner == best


def test_a_kill_costs_one_proposal_at_most(tmp_path):
    process = fork(search_until_killed, tmp_path / 'killed', 25)
    process.join()
    assert process.exitcode == -signal.SIGKILL
    done = [path.name for path in (tmp_path / 'killed').glob('step_*/proposal_*.json')]
    assert len(done) == 24
    tried = []

    def counting(cut):
        tried.append(cut)
        return attempt(cut)

    lines = []
    resumed = adapt(search(tmp_path / 'killed', attempt=counting, report=lines.append))
    assert 'continuing' in lines[0]
    whole = adapt(search(tmp_path / 'whole'))
    assert resumed == whole
    total = len(list((tmp_path / 'whole').glob('step_*/proposal_*.json')))
    assert len(tried) == total - len(done)


def test_another_search_keeps_out_of_a_folder(tmp_path):
    adapt(search(tmp_path))
    tensor = dict(w=torch.zeros(3))
    spec = replace(SEED.spec, name='other')
    conditions = dict(config=dict(optim=dict(lr=0.1)))
    for name, change in {
        'target_us': dict(target_us=0.7 * LATENCY),
        r'delta \(0.04, now 0.05\)': dict(delta=0.05),
        r'criterion \(ratio, now accuracy\)': dict(criterion='accuracy'),
        r'budget.iterations \(5, now 6\)': dict(budget=Budget(6)),
        'weights': dict(state=tensor),
        r'seed.spec.name \(small, now other\)': dict(seed=replace(SEED, spec=spec)),
        'seed.dilation': dict(seed=replace(SEED, dilation='torchvision')),
        r'latency_us.seed \(': dict(price=lambda spec: madds(spec) + 1),
        'config': dict(conditions=conditions),
    }.items():
        with pytest.raises(UserError, match=f'holds a search with another {name}'):
            adapt(search(tmp_path, **change))
    # Its own is done.
    adapt(search(tmp_path, attempt=None))


@pytest.mark.parametrize(
    ('target', 'message'),
    [
        (LATENCY, 'already met: small takes'),
        (0.01 * LATENCY, 'cannot be reached: with all widths'),
    ],
)
def test_impossible_targets(tmp_path, target, message):
    with pytest.raises(UserError, match=message) as error:
        adapt(search(tmp_path, target_us=target))
    assert '\n' not in str(error.value)
    assert not list(tmp_path.iterdir())


def test_steps_that_are_too_large_become_smaller(tmp_path):
    said = []
    target = 0.3 * LATENCY
    steps = adapt(search(tmp_path, target_us=target, delta=0.6, report=said.append))
    assert steps[-1].winner.latency_us <= target
    assert any('can still be cut at once' in line for line in said)


def test_a_training_that_is_not_a_number_is_dropped(tmp_path):
    lines = []

    def nan_sometimes(cut):
        if cut.work_dir.name == 'proposal_01':
            return Trial('oracle', None, problem='loss is not finite at iteration 3')
        return attempt(cut)

    steps = adapt(search(tmp_path, attempt=nan_sometimes, report=lines.append))
    dropped = [line for line in lines if 'is dropped: loss is not finite' in line]
    assert len(dropped) == len(steps) - 1
    assert all(step.winner.accuracy is not None for step in steps)
    assert any(point.problem for step in steps for point in step.others)


def test_a_network_of_nan_never_wins(tmp_path):
    def nan_wins(cut):
        trial = attempt(cut)
        if cut.work_dir.name == 'proposal_01':
            state = dict(w=torch.tensor([1.0, torch.nan]))
            return replace(trial, value=1e9, state=state)
        if cut.work_dir.name == 'proposal_02':
            return replace(trial, value=math.nan)
        return trial

    steps = adapt(search(tmp_path, attempt=nan_wins))
    dropped = [point for step in steps for point in step.others if point.problem]
    assert len(dropped) == 2 * (len(steps) - 1)
    assert all(step.winner.accuracy < 1e9 for step in steps)


def test_ctrl_c_ends_the_search_which_goes_on_to_the_same(tmp_path):
    def interrupted(cut):
        if cut.work_dir.name == 'proposal_03' and 'step_02' in str(cut.work_dir):
            os.kill(os.getpid(), signal.SIGINT)
            # As PyTorch, whose data-loading processes die of it too.
            raise RuntimeError('DataLoader worker (pid 7) exited unexpectedly')
        return attempt(cut)

    with pytest.raises(KeyboardInterrupt):
        adapt(search(tmp_path / 'a', attempt=interrupted))
    assert not (tmp_path / 'a' / 'step_02' / 'winner.json').exists()
    assert adapt(search(tmp_path / 'a')) == adapt(search(tmp_path / 'b'))
    assert not list(tmp_path.rglob('*.tmp'))


@pytest.mark.parametrize(
    ('name', 'change', 'said'),
    [
        ('step_01/winner.json', lambda data: data.pop('proposal'), 'names no proposal'),
        ('step_01/winner.json', lambda data: data.update(proposal=99), 'no accuracy'),
        ('step_01/winner.json', lambda data: data.update(proposal='1'), 'names no'),
        ('step_01/spec.json', lambda data: data.update(stem=1), 'not an object'),
        ('seed/score.json', lambda data: data.update(accuracy=None), 'no accuracy'),
        ('seed/score.json', lambda data: data.update(latency_us=-1), 'does not hold'),
        ('seed/score.json', lambda data: data.update(accuracy='1'), 'does not hold'),
        ('seed/score.json', lambda data: data.clear(), 'does not hold'),
    ],
)
def test_an_edited_folder_is_one_line(done, tmp_path, name, change, said):
    folder = tmp_path / 'copy'
    shutil.copytree(done, folder)
    data = json.loads((folder / name).read_text())
    change(data)
    (folder / name).write_text(json.dumps(data))
    with pytest.raises(UserError, match=f'is damaged .*{said}.*; delete ') as error:
        adapt(search(folder))
    assert '\n' not in str(error.value)


@pytest.fixture(scope='module')
def done(tmp_path_factory):
    """The folder of a search that ended."""
    folder = tmp_path_factory.mktemp('search')
    adapt(search(folder))
    return folder


def test_only_trainings_that_fail_end_the_search(tmp_path):
    def never(cut):
        if cut.budget.iterations:
            return Trial('oracle', None, problem='loss is not finite')
        return attempt(cut)

    with pytest.raises(UserError, match=r'none of the \d+ proposals .* lower --rate'):
        adapt(search(tmp_path, attempt=never))


def test_an_error_drops_a_proposal_and_a_mistake_ends_the_search(tmp_path):
    def failing(error):
        def call(cut):
            if cut.work_dir.name == 'proposal_02':
                raise error
            return attempt(cut)

        return call

    lines = []
    steps = adapt(
        search(
            tmp_path / 'a', attempt=failing(RuntimeError('odd')), report=lines.append
        )
    )
    assert len(steps) > 2 and any('is dropped: odd' in line for line in lines)
    with pytest.raises(UserError, match='no such file'):
        adapt(search(tmp_path / 'b', attempt=failing(UserError('no such file'))))


def test_a_full_disk_loses_nothing(tmp_path, monkeypatch):
    write = Path.write_bytes
    left = [7]

    def full(path, data):
        left[0] -= 1
        if left[0] < 0:
            raise OSError(errno.ENOSPC, 'No space left on device', str(path))
        return write(path, data)

    monkeypatch.setattr(Path, 'write_bytes', full)
    with pytest.raises(UserError, match=r'\(No space left .* the same command again'):
        adapt(search(tmp_path))
    assert not list(tmp_path.rglob('*.tmp'))
    assert len(list(tmp_path.glob('step_01/proposal_*.json'))) == 7
    monkeypatch.undo()
    assert adapt(search(tmp_path))[-1].winner.latency_us <= 0.8 * LATENCY


def test_a_damaged_file_names_itself(tmp_path):
    adapt(search(tmp_path))
    (tmp_path / 'step_01' / 'winner.json').write_text('{')
    with pytest.raises(UserError, match=r'winner\.json is damaged'):
        adapt(search(tmp_path))
