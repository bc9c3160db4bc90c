import os
import random
import subprocess
import sys

import pytest
from mmengine.config import Config

from mmnv3.errors import UserError
from mmnv3.search.nas import proxy
from mmnv3.search.nas.proxy import (
    ProxyJob,
    ProxyTrainer,
    config_for,
    train_proxy,
)
from mmnv3.search.nas.search import Outcome
from mmnv3.search.nas.space import get_space
from mmnv3.search.netadapt.configs import build_shapes
from mmnv3.search.runs import Budget, Trial
from tests.conftest import ROOT

CONFIGS = {
    'ssdlite_mnv3_small_demo': 'detection',
    'lraspp_mnv3_small_demo': 'segmentation',
    'mnv3_small_imagenet': None,
}


def read(name):
    return Config.fromfile(ROOT / 'configs' / f'{name}.py')


@pytest.mark.parametrize('name', CONFIGS)
def test_any_network_fits_a_config(name):
    config, space = read(name), get_space('small', CONFIGS[name])
    rng = random.Random(0)
    for _ in range(5):
        build_shapes(config_for(config, space.decode(space.random(rng))))


@pytest.mark.parametrize(
    ('op', 'layers', 'tap'),
    [
        ('bottleneck6', 0, 'block3.depthwise'),
        ('separable', 1, 'block5.depthwise'),
        ('conv', 0, 'block3'),
    ],
)
def test_segmentation_taps_the_last_block_at_stride_8(op, layers, tap):
    space = get_space('small', 'segmentation')
    tokens = space.uniform(
        op=op, kernel=3, se=0.0, residual=True, filters=1.0, layers=layers
    )
    config = config_for(read('lraspp_mnv3_small_demo'), space.decode(tokens))
    assert tuple(config.model.backbone.out_taps) == (tap, 'C5')


def test_taps_by_index_are_refused():
    config = read('ssdlite_mnv3_small_demo')
    config.model.backbone.out_indices = (3, 5)
    config.model.backbone.pop('out_taps')
    spec = get_space('small').decode((0,) * 30)
    with pytest.raises(UserError, match=r'out_indices=\(3, 5\) counts .*; name'):
        config_for(config, spec)


def test_failures_are_outcomes_but_a_broken_config_is_an_error(tmp_path, monkeypatch):
    def train(job):
        if job.spec == 'big':
            raise MemoryError('no room')
        if job.spec == 'broken':
            raise UserError('there is no such data set')
        return Outcome(0.5)

    monkeypatch.setattr(proxy, 'train_proxy', train)
    trainer = ProxyTrainer(Config(), Budget(1), tmp_path)
    assert dict(trainer(['fine', 'big'])) == {
        0: Outcome(0.5),
        1: Outcome(None, 'no room'),
    }
    with pytest.raises(UserError, match='no such data set'):
        list(trainer(['fine', 'broken']))


@pytest.mark.parametrize(
    ('name', 'value', 'accuracy'),
    [
        ('ssdlite_mnv3_small_demo', 0.25, 0.25),
        ('lraspp_mnv3_small_demo', 25.0, 0.25),
        ('mnv3_small_imagenet', None, None),
    ],
)
def test_accuracies_are_of_one(name, value, accuracy, tmp_path, monkeypatch):
    def train(config, budget, work_dir):
        return Trial('any', value, problem=None if value else 'loss is nan')

    monkeypatch.setattr(proxy, 'train_and_score', train)
    space = get_space('small', CONFIGS[name])
    spec = space.decode(space.random(random.Random(0)))
    outcome = train_proxy(ProxyJob(read(name), spec, Budget(1), tmp_path))
    assert outcome == Outcome(accuracy, None if value else 'loss is nan')


def test_errors_of_the_tool_are_one_line(tmp_path):
    tool, config = ROOT / 'tools/nas.py', ROOT / 'configs/ssdlite_mnv3_small_demo.py'
    done = subprocess.run(
        [
            sys.executable,
            tool,
            config,
            '--table',
            'none.json',
            '--target-latency',
            '3ms',
        ],
        cwd=tmp_path,
        env={**os.environ, 'PYTHONPATH': str(ROOT)},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 2
    assert 'error: none.json: there is no such table' in done.stderr.splitlines()[-1]
