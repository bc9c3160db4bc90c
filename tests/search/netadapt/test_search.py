"""The loop: what it finds, what it leaves, and what goes wrong."""

import errno
import json
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch

from mmnv3.arch import get_spec, load_spec
from mmnv3.errors import UserError
from mmnv3.search.netadapt import store
from mmnv3.search.netadapt.comparison import compare_uniform
from mmnv3.search.netadapt.multipliers import uniform
from mmnv3.search.netadapt.plot import plot_trajectory
from mmnv3.search.netadapt.search import read_steps, run
from mmnv3.search.netadapt.task import Search
from mmnv3.search.runs import Budget, Trial
from tests.conftest import ROOT
from tests.search.netadapt.oracle import attempt, madds, oracle

SEED = get_spec('small')
LATENCY = madds(SEED)


def search(work_dir: Path, **changes) -> Search:
    settings = dict(
        seed=SEED,
        state=dict(w=torch.ones(3)),
        price=madds,
        attempt=attempt,
        target=0.8 * LATENCY,
        budget=Budget(5),
        work_dir=work_dir,
        delta=0.04,
        report=lambda line: None,
    )
    return Search(**{**settings, **changes})


@pytest.mark.parametrize('criterion', ['ratio', 'accuracy'])
def test_the_frontier_beats_uniform_widths(tmp_path, criterion):
    """An oracle instead of training: concave in every block, of unequal weight."""
    task = search(tmp_path, target=0.4 * LATENCY, delta=0.02, criterion=criterion)
    steps = run(task)
    assert steps[-1].winner.latency <= 0.4 * LATENCY
    way = sorted((step.winner.latency, step.winner.accuracy) for step in steps)
    for percent in range(50, 99):
        scaled = uniform(SEED, percent / 100)
        if way[0][0] < madds(scaled) < LATENCY:
            # Between two steps of the way lies a line.
            assert np.interp(madds(scaled), *zip(*way)) > oracle(scaled)
    assert compare_uniform(task, steps).accuracy < steps[-1].winner.accuracy


def test_the_multiplier_as_fast_by_measurement_is_compared(tmp_path):
    """A machine on which wide stems cost nothing measures other latencies."""
    task = search(tmp_path)
    steps = run(task)
    found = load_spec(store.step_dir(tmp_path, steps[-1].number) / 'spec.json')
    asked = []

    def measure(specs):
        asked.append(specs)
        return [madds(spec) * (1.0 if spec == found else 1.05) for spec in specs]

    by_price = compare_uniform(search(tmp_path / 'price'), run_there(tmp_path))
    compared = compare_uniform(task, steps, measure)
    first, *others = asked[0]
    assert first == found and len(set(others)) == len(others) == 8
    chosen = json.loads((tmp_path / 'uniform' / 'width.json').read_text())
    assert compared.name == f'×{chosen["width"]:g}'
    gaps = {w: abs(us - chosen['found']) for w, us in chosen['measured'].items()}
    assert gaps[f'{chosen["width"]:g}'] == min(gaps.values())
    # What measures slower has to be thinner.
    assert compared.latency < by_price.latency
    # Chosen once.
    assert compare_uniform(task, steps, measure) == compared and len(asked) == 1


def run_there(tmp_path):
    return run(search(tmp_path / 'price'))


def test_every_step_cuts_delta_and_is_stored(tmp_path):
    steps = run(search(tmp_path))
    latencies = [step.winner.latency for step in steps]
    assert latencies[0] == LATENCY and latencies[-1] <= 0.8 * LATENCY
    for before, after in zip(latencies[:-1], latencies[1:-1]):
        assert before - after >= 0.04 * LATENCY
    rows = json.loads((tmp_path / 'frontier.json').read_text())
    assert [row['latency'] for row in rows] == latencies
    for step in steps[1:]:
        folder = store.step_dir(tmp_path, step.number)
        assert madds(load_spec(folder / 'spec.json')) == step.winner.latency
        assert store.read_weights(folder / 'weights.pth')
        assert not list(folder.glob('proposal_*.pth'))
    assert list(read_steps(tmp_path)) == steps


def test_criteria_choose_as_they_say(tmp_path):
    for criterion in ('ratio', 'accuracy'):
        steps = run(search(tmp_path / criterion, criterion=criterion))
        before, step = steps[0].winner, steps[1]
        everything = [step.winner, *step.others]
        best = max(
            everything,
            key=lambda p: (
                p.accuracy
                if criterion == 'accuracy'
                else (p.accuracy - before.accuracy) / (before.latency - p.latency)
            ),
        )
        assert step.winner == best


CHILD = """
from pathlib import Path
from tests.search.netadapt.oracle import slow_attempt
from tests.search.netadapt.test_search import search
from mmnv3.search.netadapt.search import run
report = lambda line: print(line, flush=True)
run(search(Path({path!r}), attempt=slow_attempt, report=report))
"""


def test_a_kill_costs_one_proposal_at_most(tmp_path):
    process = subprocess.Popen(
        [sys.executable, '-c', CHILD.format(path=str(tmp_path / 'killed'))],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        text=True,
    )
    for count, line in enumerate(process.stdout):
        if line.startswith('step_02') and count > 20:
            break
    process.send_signal(signal.SIGKILL)
    process.communicate()
    done = [path.name for path in (tmp_path / 'killed').glob('step_*/proposal_*.json')]
    assert len(done) >= 20
    tried = []

    def counting(job):
        tried.append(job)
        return attempt(job)

    lines = []
    resumed = run(search(tmp_path / 'killed', attempt=counting, report=lines.append))
    assert 'continuing' in lines[0]
    whole = run(search(tmp_path / 'whole'))
    assert resumed == whole
    total = len(list((tmp_path / 'whole').glob('step_*/proposal_*.json')))
    assert len(tried) == total - len(done)


def test_another_search_keeps_out_of_a_folder(tmp_path):
    run(search(tmp_path))
    for change in (
        dict(target=0.7 * LATENCY),
        dict(delta=0.05),
        dict(criterion='accuracy'),
        dict(budget=Budget(6)),
        dict(state=dict(w=torch.zeros(3))),
        dict(seed=replace(SEED, name='other')),
    ):
        with pytest.raises(UserError, match='holds a search with another'):
            run(search(tmp_path, **change))
    # Its own is done.
    run(search(tmp_path, attempt=None))


@pytest.mark.parametrize(
    ('target', 'message'),
    [
        (LATENCY, 'already met: small takes'),
        (0.01 * LATENCY, 'cannot be reached: with all widths'),
    ],
)
def test_impossible_targets(tmp_path, target, message):
    with pytest.raises(UserError, match=message) as error:
        run(search(tmp_path, target=target))
    assert '\n' not in str(error.value)
    assert not list(tmp_path.iterdir())


def test_steps_that_are_too_large_become_smaller(tmp_path):
    said = []
    target = 0.3 * LATENCY
    steps = run(search(tmp_path, target=target, delta=0.6, report=said.append))
    assert steps[-1].winner.latency <= target
    assert any('can still be cut at once' in line for line in said)


def test_a_training_that_is_not_a_number_is_dropped(tmp_path):
    lines = []

    def nan_sometimes(job):
        if job.work_dir.name == 'proposal_01':
            return Trial('oracle', None, problem='loss is not finite at iteration 3')
        return attempt(job)

    steps = run(search(tmp_path, attempt=nan_sometimes, report=lines.append))
    dropped = [line for line in lines if 'is dropped: loss is not finite' in line]
    assert len(dropped) == len(steps) - 1
    assert all(step.winner.accuracy is not None for step in steps)
    assert any(point.problem for step in steps for point in step.others)


def test_only_trainings_that_fail_end_the_search(tmp_path):
    def never(job):
        if job.budget.iterations:
            return Trial('oracle', None, problem='loss is not finite')
        return attempt(job)

    with pytest.raises(UserError, match=r'none of the \d+ proposals .* lower --rate'):
        run(search(tmp_path, attempt=never))


def test_an_error_drops_a_proposal_and_a_mistake_ends_the_search(tmp_path):
    def failing(error):
        def call(job):
            if job.work_dir.name == 'proposal_02':
                raise error
            return attempt(job)

        return call

    lines = []
    steps = run(
        search(
            tmp_path / 'a', attempt=failing(RuntimeError('odd')), report=lines.append
        )
    )
    assert len(steps) > 2 and any('is dropped: odd' in line for line in lines)
    with pytest.raises(UserError, match='no such file'):
        run(search(tmp_path / 'b', attempt=failing(UserError('no such file'))))


def test_a_full_disk_loses_nothing(tmp_path, monkeypatch):
    write = Path.write_bytes
    left = [7]

    def full(path, data):
        left[0] -= 1
        if left[0] < 0:
            raise OSError(errno.ENOSPC, 'No space left on device', str(path))
        return write(path, data)

    monkeypatch.setattr(Path, 'write_bytes', full)
    with pytest.raises(UserError, match=r'no space left .* run the same command again'):
        run(search(tmp_path))
    assert not list(tmp_path.rglob('*.tmp'))
    assert len(list(tmp_path.glob('step_01/proposal_*.json'))) == 7
    monkeypatch.undo()
    assert run(search(tmp_path))[-1].winner.latency <= 0.8 * LATENCY


def test_a_damaged_file_names_itself(tmp_path):
    run(search(tmp_path))
    (tmp_path / 'step_01' / 'winner.json').write_text('{')
    with pytest.raises(UserError, match=r'winner\.json is damaged'):
        run(search(tmp_path))


def test_the_plot_shows_the_way_and_the_multipliers(tmp_path):
    task = search(tmp_path)
    steps = run(task)
    points = [
        compare_uniform(task, steps),
        store.Point('×0.5', madds(uniform(SEED, 0.5))),
    ]
    plot_trajectory(tmp_path / 'plot.png', steps, points, task.target, 'oracle')
    assert cv2.imread(str(tmp_path / 'plot.png')).shape[1] > 900
