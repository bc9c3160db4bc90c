"""From a config to a priced, cut and written one."""

import pickle
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
from mmnv3.search.latency import timing
from mmnv3.search.latency.table import LatencyTable
from mmnv3.search.netadapt import store
from mmnv3.search.netadapt.application import (
    Trainer,
    plot,
    train_final,
    write_found,
)
from mmnv3.search.netadapt.configs import build, config_rules, config_spec, with_spec
from mmnv3.search.netadapt.multipliers import uniform
from mmnv3.search.netadapt.pricing import config_measure, config_price
from mmnv3.search.netadapt.search import run
from mmnv3.search.netadapt.task import Job, Search
from mmnv3.search.netadapt.weights import inherit
from mmnv3.search.runs import Budget, Trial
from tests.conftest import ROOT
from tests.engine.conftest import config as config_of_detection
from tests.engine.conftest import demo_data

__all__ = ['config_of_detection', 'demo_data']

CONFIG = f'{ROOT}/configs/ssdlite_mnv3_small_demo.py'
OF_ANY_SIZE = f'{ROOT}/configs/lraspp_mnv3_small_demo.py'


@pytest.fixture(scope='module')
def found(tmp_path_factory):
    """A search of one step by multiply-adds, whose trainings only inherit."""
    config = read_config(CONFIG)
    torch.manual_seed(0)
    state = build(config).state_dict()
    sizes = []

    def madds(module, size):
        sizes.append(size)
        return count(module, size).madds

    price = config_price(config, SimpleNamespace(price_model=madds))
    seed = config_spec(config)

    def attempt(job):
        return Trial('x', 0.5, state=inherit(config, job.state, job.old, job.new))

    search = Search(
        seed=seed,
        state=state,
        price=price,
        attempt=attempt,
        target=0.9 * price(seed),
        budget=Budget(1),
        work_dir=tmp_path_factory.mktemp('found'),
        delta=0.2,
        report=lambda line: None,
    )
    steps = run(search)
    assert set(sizes) == {(320, 320)}
    # Neck and head are in the price: C4 feeds them.
    assert price(seed) > 1.2 * count(build(config).backbone, (320, 320)).madds
    return config, search, steps, write_found(config, search, steps)


def test_what_was_found_is_a_config_like_any_other(found):
    _, search, steps, path = found
    model = build_model(str(path), None, str(path.with_suffix('.pth')))
    assert count(model, (320, 320)).madds == steps[-1].winner.latency
    assert steps[-1].winner.latency <= search.target
    assert model.cfg.model.backbone.arch == str(path.with_suffix('.json'))
    assert model.backbone.spec.name == 'small_detection_netadapt'


def test_what_was_found_goes_where_its_folder_goes(found, tmp_path):
    path = found[-1]
    for name in ('found.py', 'found.json'):
        shutil.copy(path.with_name(name), tmp_path / name)
    arch = read_config(str(tmp_path / 'found.py')).model.backbone.arch
    assert arch == str(tmp_path / 'found.json')


def test_the_plot_has_the_multipliers(found):
    config, search, steps, _ = found
    assert cv2.imread(str(plot(config, search, steps))).shape[1] > 900


def test_jobs_travel_to_other_machines(found):
    config, search, _, _ = found
    job = Job(search.seed, search.seed, search.state, search.budget, search.work_dir)
    trainer, back = pickle.loads(pickle.dumps((Trainer(config), job)))
    assert trainer.config.model == config.model and back.new == search.seed


def test_another_final_training_is_refused(found):
    with pytest.raises(UserError, match='finetune, scratch'):
        train_final(found[-1], 'twice')


def test_networks_are_measured_where_their_table_is_from(found):
    config, search, _, _ = found
    table = LatencyTable.new('pytorch')
    measure = config_measure(config, table)
    thin = uniform(search.seed, 0.5)
    monkey = pytest.MonkeyPatch()
    with monkey.context() as patch:
        patch.setattr(timing, 'NETWORK_SECONDS', 0.0)
        patch.setattr(timing, 'NETWORK_RUNS', 5)
        slow, fast = measure([search.seed, thin])
    assert fast < slow
    table.machine = {**table.machine, 'processor': 'Pixel 1'}
    assert config_measure(config, table) is None


@pytest.mark.parametrize('how', ['scratch', 'finetune'])
def test_the_final_training_follows_the_whole_schedule(
    how, tmp_path, config_of_detection
):
    config = read_config(str(config_of_detection))
    torch.manual_seed(0)
    spec = uniform(config_spec(config), 0.5, config_rules(config))
    arch = tmp_path / 'found.json'
    save_spec(spec, arch)
    edited = with_spec(config, spec, str(arch))
    (tmp_path / 'found.py').write_text(edited.pretty_text)
    state = build(edited).state_dict()
    store.write_weights(tmp_path / 'found.pth', state)
    value = train_final(tmp_path / 'found.py', how)
    folder = tmp_path / f'found_{how}'
    trained = torch.load(folder / 'iter_6.pth', weights_only=False)
    assert 0 <= value <= 1 and trained['message_hub'] is not None
    # It goes on, and has nothing left to do.
    assert train_final(tmp_path / 'found.py', how) == pytest.approx(value, abs=1e-6)


def test_pictures_of_any_size_are_not_priced_at_a_made_up_one():
    config, sizes = read_config(OF_ANY_SIZE), []
    table = SimpleNamespace(price_model=lambda model, size: sizes.append(size) or 1)
    for price in (config_price, config_measure):
        with pytest.raises(UserError, match=r'demo.*say one with --size WIDTH HEIGHT'):
            price(config, table)
    assert config_price(config, table, (96, 64))(config_spec(config)) == 1
    assert sizes == [(96, 64)]
