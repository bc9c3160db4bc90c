"""The study of proxies, with figures by formula in place of trainings."""

import copy
import random

import pytest
import torch

from mmnv3.engine.config import input_size, read_config
from mmnv3.errors import UserError
from mmnv3.search.configs import build, with_sampled_spec
from mmnv3.search.folder import Folder
from mmnv3.search.latency.tracing import trace
from mmnv3.search.nas.space import get_space
from mmnv3.search.trial import Trial
from studies import search_proxies, whole_trainings
from tests.conftest import ROOT
from tests.search.nas.oracle import evaluator, oracle_accuracy

SPACE = get_space('v3_small', 'detection')


@pytest.fixture(autouse=True)
def record(tmp_path, monkeypatch):
    monkeypatch.setattr(whole_trainings, 'RECORD', tmp_path / 'record.json')


@pytest.fixture(scope='module')
def config():
    return read_config(f'{ROOT}/configs/ssdlite_mnv3_small_demo.py')


def test_networks_are_of_all_sizes():
    costs = [
        sum(tokens)
        for tokens in search_proxies.choose_networks(SPACE, 5, cost=lambda t: sum(t))
    ]
    assert costs == sorted(costs) and len(set(costs)) == 5


def test_multiply_adds_are_those_of_the_built_network(config):
    tokens = SPACE.random(random.Random(3))
    size = input_size(config)
    layers = trace(build(with_sampled_spec(config, SPACE.decode(tokens))), size).layers
    own = search_proxies.network_madds(config, SPACE, size, tokens)
    # Up to the last layer that is tapped, the trace begins with the backbone's.
    madds = [layer.madds for layer in layers]
    assert own in [sum(madds[:end]) for end in range(len(madds))]


def test_correlation_by_hand():
    # Ranks 1 2 3 4 and 2 1 3 4: 1 - 6 · 2 / (4 · 15).
    first, second = [0.1, 0.2, 0.3, 0.4, None], [5.0, 3.0, 6.0, 9.0, 1.0]
    assert search_proxies.rank_correlation(first, second) == pytest.approx(0.8)


def test_what_was_trained_is_not_trained_again(config, tmp_path, monkeypatch):
    trained, networks = [], {}
    weights = dict(weight=torch.zeros(1))

    def train(edited, budget, work_dir, state=None):
        trained.append(budget.seed)
        accuracy = oracle_accuracy(edited.model.backbone.arch)
        return Trial('coco/bbox_mAP', accuracy + budget.seed / 1e6, state=weights)

    def worst(batch):
        networks.setdefault('calls', 0)
        networks['calls'] += 1
        return ((i, type(o)(-o.accuracy)) for i, o in evaluator(SPACE)(batch))

    monkeypatch.setattr(whole_trainings, 'train_and_score', train)
    monkeypatch.setattr(whole_trainings, 'schedule_length', lambda config: 10)
    found = dict(best=evaluator(SPACE), worst=worst)
    monkeypatch.setattr(search_proxies, 'proxies_of', lambda *_: found)
    tables = [
        search_proxies.compare(config, SPACE, 4, 2, Folder(tmp_path)) for _ in range(2)
    ]
    # The last is the seed's, whose weights some proxies take.
    assert tables[0] == tables[1] and trained == [*[0, 1] * 4, 0]
    assert networks['calls'] == 1
    rows = [line.split('|')[1:3] for line in tables[0].splitlines()[2:]]
    figures = {name.strip(): float(value) for name, value in rows}
    assert figures['best'] == 1 and figures['worst'] == -1
    assert figures['whole training, another seed'] == 1


def test_what_cannot_be_trained_is_told_and_the_rest_is_kept(
    config, tmp_path, monkeypatch
):
    def train(edited, budget, work_dir, state=None):
        value = 0.5 if budget.seed else None
        return Trial('coco/bbox_mAP', value, problem='the loss is nan', state={})

    monkeypatch.setattr(whole_trainings, 'train_and_score', train)
    monkeypatch.setattr(whole_trainings, 'schedule_length', lambda config: 10)
    with pytest.raises(UserError, match='small, seed 0: the loss is nan'):
        whole_trainings.train_whole(dict(small=config), 2, Folder(tmp_path))
    (row,) = whole_trainings.read_record().values()
    known = (row['network'], row['seed'], row['accuracy'], row['config'])
    assert known == ('small', 1, 0.5, 'ssdlite_mnv3_small_demo')


def test_figures_are_of_their_config_and_weights_of_their_folder(
    config, tmp_path, monkeypatch
):
    trained = []

    def train(edited, budget, work_dir, state=None):
        trained.append(edited.max_iters)
        return Trial('coco/bbox_mAP', edited.max_iters / 1e3, state={})

    monkeypatch.setattr(whole_trainings, 'train_and_score', train)
    monkeypatch.setattr(whole_trainings, 'schedule_length', lambda config: 10)
    longer = copy.deepcopy(config)
    longer.max_iters = 900
    first, second = Folder(tmp_path / 'a'), Folder(tmp_path / 'b')
    both = dict(short=config, long=longer)
    found = whole_trainings.train_whole(both, 1, first)
    assert found == dict(short=[0.84], long=[0.9]) and trained == [840, 900]
    # Another study has the figures, but not the weights.
    assert whole_trainings.train_whole(both, 1, second, wanted=['long']) == found
    assert trained == [840, 900, 900]
    assert not (second.path / whole_trainings.weights_file('short')).exists()
    assert (second.path / whole_trainings.weights_file('long')).exists()
