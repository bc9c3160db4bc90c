"""A search of a config from start to plot; only training is left out."""

import io
from dataclasses import replace

import pytest
from rich.console import Console

from mmnv3.arch import load_spec
from mmnv3.engine.build import build_model
from mmnv3.engine.config import read_config
from mmnv3.errors import UserError
from mmnv3.search.latency.table import LatencyTable
from mmnv3.search.nas import run
from mmnv3.search.nas.history import best
from mmnv3.search.nas.reward import make_reward
from mmnv3.search.nas.run import Plan, search_config
from mmnv3.search.nas.search import SearchSettings
from mmnv3.search.nas.space import get_space
from mmnv3.search.runs import Budget
from tests.conftest import ROOT
from tests.search.nas.oracles import evaluate


@pytest.fixture
def trained(monkeypatch):
    """The networks that are trained, in place of training them."""
    specs = []

    def trainer(config, budget, work_dir, ray):
        return lambda batch: specs.extend(batch) or evaluate(batch)

    monkeypatch.setattr(run, 'ProxyTrainer', trainer)
    return specs


def test_a_search_leaves_a_config_that_goes_where_its_folder_goes(
    tmp_path, machine, trained
):
    config = read_config(f'{ROOT}/configs/ssdlite_mnv3_small_demo.py')
    table = tmp_path / 'table.json'
    LatencyTable.new('pytorch').save(table)
    folder, console = tmp_path / 'here', Console(file=io.StringIO(), width=200)
    settings = SearchSettings(make_reward(15_000, 'small'), samples=4, batch_size=2)
    plan = Plan('small', table, Budget(1), folder)
    samples = search_config(config, settings, plan, console)
    assert LatencyTable.load(table).layers
    text = console.file.getvalue()
    assert 'target 15 ms' in text and 'best network: ' in text

    elsewhere = folder.rename(tmp_path / 'elsewhere')
    model = build_model(str(elsewhere / 'best_config.py'), None, None)
    space = get_space('small', config.model.backbone.tail)
    spec = space.decode(best(samples).tokens)
    assert load_spec(elsewhere / 'best.json') == spec
    assert model.backbone.spec.blocks == spec.blocks

    plan = Plan('small', table, Budget(1), elsewhere)
    again = search_config(config, settings, plan, console)
    assert again == samples and len(trained) == 4
    assert 'going on after 4 samples' in console.file.getvalue()


def test_pictures_of_any_size_are_not_priced_at_a_made_up_one(
    tmp_path, machine, monkeypatch
):
    config = read_config(f'{ROOT}/configs/lraspp_mnv3_small_demo.py')
    table = tmp_path / 'table.json'
    LatencyTable.new('pytorch').save(table)
    plan = Plan('small', table, Budget(1), tmp_path)
    settings = SearchSettings(make_reward(15_000, 'small'), samples=4, batch_size=2)
    console = Console(file=io.StringIO())
    with pytest.raises(UserError, match=r'demo.*say one with --size WIDTH HEIGHT'):
        search_config(config, settings, plan, console)

    sizes = []
    monkeypatch.setattr(
        run, 'complete_table', lambda *args: sizes.append(args[4]) or 1 / 0
    )
    with pytest.raises(ZeroDivisionError):
        search_config(config, settings, replace(plan, size=(96, 64)), console)
    assert sizes == [(96, 64)]
