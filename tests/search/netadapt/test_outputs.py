"""What a NetAdapt search leaves."""

import shutil
from types import SimpleNamespace

import cv2
import pytest
import torch

from mmnv3.arch import save_spec
from mmnv3.benchmark.counts import count
from mmnv3.engine.build import build_model
from mmnv3.engine.config import read_config
from mmnv3.errors import UserError
from mmnv3.search.configs import Budget, build, config_network, with_spec
from mmnv3.search.folder import Folder
from mmnv3.search.latency.price import config_price
from mmnv3.search.latency.table import Execution, LatencyTable
from mmnv3.search.netadapt import comparison
from mmnv3.search.netadapt.comparison import compare_uniform, config_measure, uniform
from mmnv3.search.netadapt.outputs import plot_search, train_final, write_found
from mmnv3.search.netadapt.search import NetAdaptTask, adapt
from mmnv3.search.netadapt.weights import inherit
from mmnv3.search.trial import Trial
from tests.search.conftest import HERE
from tests.search.netadapt import oracle


@pytest.fixture(scope='module')
def found(tmp_path_factory, read):
    """A search of one step by multiply-adds, whose trainings only inherit."""
    config = read('ssdlite_mnv3_small_demo')
    torch.manual_seed(0)
    state = build(config).state_dict()
    sizes = set()

    def madds(layers, overhead):
        sizes.add(overhead.size)
        return sum(layer.madds for layer in layers)

    price = config_price(config, SimpleNamespace(latency_us=madds))
    seed = config_network(config)

    def attempt(cut):
        return Trial('x', 0.5, state=inherit(config, cut.state, cut.old, cut.new))

    task = NetAdaptTask(
        seed=seed,
        state=state,
        price=price,
        attempt=attempt,
        target_us=0.9 * price(seed.spec),
        budget=Budget(1),
        work_dir=tmp_path_factory.mktemp('found'),
        delta=0.2,
        report=lambda line: None,
    )
    steps = adapt(task)
    assert sizes == {(320, 320)}
    # Neck and head are in the price: C4 feeds them.
    assert price(seed.spec) > 1.2 * count(build(config).backbone, (320, 320)).madds
    return config, task, steps, write_found(config, task, steps)


def test_what_was_found_is_a_config_like_any_other(found):
    _, task, steps, path = found
    model = build_model(str(path), None, str(path.with_suffix('.pth')))
    assert count(model, (320, 320)).madds == steps[-1].winner.latency_us
    assert steps[-1].winner.latency_us <= task.target_us
    assert model.cfg.model.backbone.arch == str(path.with_suffix('.json'))
    assert model.backbone.spec.name == 'small_detection_netadapt'


def test_what_was_found_goes_where_its_folder_goes(found, tmp_path):
    path = found[-1]
    for name in ('found.py', 'found.json'):
        shutil.copy(path.with_name(name), tmp_path / name)
    arch = read_config(str(tmp_path / 'found.py')).model.backbone.arch
    assert arch == str(tmp_path / 'found.json')


def test_the_plot_has_the_multipliers(found):
    config, task, steps, _ = found
    assert cv2.imread(str(plot_search(config, task, steps))).shape[1] > 900


def test_the_plot_shows_a_multiplier_that_was_trained(found, tmp_path):
    config = found[0]
    task = oracle.search(tmp_path)
    steps = adapt(task)
    path = plot_search(config, task, steps, compare_uniform(task, steps))
    assert cv2.imread(str(path)).shape[1] > 900


def test_another_final_training_is_refused(found):
    with pytest.raises(UserError, match='finetune, scratch'):
        train_final(found[-1], 'twice')


def test_networks_are_measured_where_their_table_is_from(found, monkeypatch):
    config, task, _, _ = found
    table = LatencyTable.new(Execution('pytorch'))
    measure = config_measure(config, table)
    seed, ways = task.seed, []
    monkeypatch.setattr(
        comparison, 'load_network', lambda graph, *way: ways.append(way) or graph
    )

    def time_networks(graphs):
        return [
            sum(weight.numel() for weight in graph.parameters()) for graph in graphs
        ]

    monkeypatch.setattr(comparison, 'time_networks', time_networks)
    slow, fast = measure([seed.spec, uniform(seed, 0.5).spec])
    assert 0 < fast < slow and ways == [(Execution('pytorch'),)] * 2
    table.machine = {**table.machine, 'processor': 'Pixel 1'}
    assert config_measure(config, table) is None


@pytest.mark.parametrize('how', ['scratch', 'finetune'])
def test_the_final_training_follows_the_whole_schedule(how, tmp_path, detection_config):
    short = dict(
        train_dataloader=HERE, val_dataloader=HERE, train_cfg=dict(max_iters=2)
    )
    config = read_config(str(detection_config), short)
    torch.manual_seed(0)
    spec = uniform(config_network(config), 0.5).spec
    arch = tmp_path / 'found.json'
    save_spec(spec, arch)
    edited = with_spec(config, spec, str(arch))
    (tmp_path / 'found.py').write_text(edited.pretty_text)
    state = build(edited).state_dict()
    Folder(tmp_path).write_weights('found.pth', state)
    value = train_final(tmp_path / 'found.py', how)
    folder = tmp_path / f'found_{how}'
    trained = torch.load(folder / 'iter_2.pth', weights_only=False)
    assert 0 <= value <= 1 and trained['message_hub'] is not None
    # It goes on, and has nothing left to do.
    assert train_final(tmp_path / 'found.py', how) == pytest.approx(value, abs=1e-6)
