"""The layers of a space are enough to price all that is in it."""

import random
import warnings

import pytest
from mmengine.config import Config

from mmnv3.search.configs import build, with_sampled_spec
from mmnv3.search.latency.price import config_price
from mmnv3.search.latency.table import Execution, LatencyTable
from mmnv3.search.latency.tracing import trace
from mmnv3.search.nas import pricing
from mmnv3.search.nas.pricing import complete_table
from mmnv3.search.nas.space import get_space
from tests.conftest import ROOT
from tests.search.conftest import SIZE, law

SPACE = get_space('small', 'detection')


@pytest.fixture(scope='module')
def config() -> Config:
    return Config.fromfile(ROOT / 'configs' / 'ssdlite_mnv3_small_demo.py')


def test_no_network_of_the_space_is_guessed(config, machine, tmp_path, monkeypatch):
    table, path = LatencyTable.new(Execution('pytorch')), tmp_path / 'table.json'
    price = config_price(config, table, SIZE, other_blocks=True)
    count = complete_table(config, price, path, SPACE, lambda *_: None)
    assert count == len(table.layers) > 100
    # The second time nothing is measured, and so no network is built.
    monkeypatch.setattr(pricing, 'build', None)
    assert complete_table(config, price, path, SPACE, lambda *_: None) == 0
    chance = random.Random(7)
    with warnings.catch_warnings():
        warnings.simplefilter('error')
        for _ in range(4):
            spec = SPACE.decode(SPACE.random(chance))
            layers = trace(build(with_sampled_spec(config, spec)), SIZE).layers
            assert price(spec) == pytest.approx(1.5 * sum(map(law, layers)) + 10, 0.01)


def test_a_table_of_elsewhere_is_left_alone(config, machine, tmp_path):
    table = LatencyTable.new(Execution('pytorch'))
    table.machine = {**table.machine, 'processor': 'Pixel 1'}
    path = tmp_path / 'table.json'
    price = config_price(config, table, SIZE, other_blocks=True)
    assert complete_table(config, price, path, SPACE, lambda *_: None) == 0
    assert not path.exists() and not table.layers
