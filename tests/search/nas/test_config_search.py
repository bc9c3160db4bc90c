"""A search of a config from start to plot; only training is left out."""

import io
import random
from dataclasses import replace

import pytest
from mmengine.config import Config
from rich.console import Console

from mmnv3.arch import load_spec
from mmnv3.engine.build import build_model
from mmnv3.engine.config import read_config
from mmnv3.errors import UserError
from mmnv3.search.configs import Budget
from mmnv3.search.latency.table import Execution, LatencyTable
from mmnv3.search.nas import config_search, proxies
from mmnv3.search.nas.config_search import NASPlan, search_config
from mmnv3.search.nas.finalists import choose_finalists
from mmnv3.search.nas.proxies import ELASTIC, ScratchJob, ScratchProxy, train_scratch
from mmnv3.search.nas.reward import make_reward
from mmnv3.search.nas.search import NASSettings, Outcome, best
from mmnv3.search.nas.space import get_space
from mmnv3.search.trial import Trial
from tests.conftest import ROOT
from tests.search.nas.oracle import evaluator
from tests.tools import fork_tool


@pytest.fixture
def trained(monkeypatch):
    """The networks that are trained, in place of training them."""
    networks = []

    def proxy(config, space, budget, work_dir, ray):
        def call(batch):
            networks.extend(batch)
            return evaluator(space)(batch)

        return call

    monkeypatch.setitem(config_search.PROXIES, ELASTIC, proxy)
    return networks


def test_a_search_leaves_a_config_that_goes_where_its_folder_goes(
    tmp_path, machine, trained, demo_data, monkeypatch
):
    config = read_config(f'{ROOT}/configs/ssdlite_mnv3_small_demo.py')
    config.train_dataloader.dataset.data_root = f'{demo_data}/'
    table = tmp_path / 'table.json'
    LatencyTable.new(Execution('pytorch')).save(table)
    folder, console = tmp_path / 'here', Console(file=io.StringIO(), width=200)
    settings = NASSettings(make_reward(15_000, 'small'), samples=4, batch_size=2)
    plan = NASPlan('small', table, Budget(1), folder)
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

    plan = NASPlan('small', table, Budget(1), elsewhere)
    again = search_config(config, settings, plan, console)
    assert again == samples and len(trained) == 4
    assert 'going on after 4 samples' in console.file.getvalue()

    # Trained to the end, another one is best.
    finalists = choose_finalists(samples, 2)
    worst = min(finalists, key=lambda sample: sample.reward)
    monkeypatch.setattr(
        proxies,
        'train_scratch',
        lambda job: Outcome(0.9 if job.tokens == worst.tokens else 0.1),
    )
    search_config(config, settings, replace(plan, finalists=2), console)
    assert load_spec(elsewhere / 'best.json') == space.decode(worst.tokens)
    assert 'Finalists' in console.file.getvalue() and len(trained) == 4

    config.optim_wrapper.optimizer.lr = 0.07
    with pytest.raises(UserError, match=r'another config\.optim_wrapper\S+\.lr \('):
        search_config(config, settings, plan, console)


def test_failures_are_outcomes_but_a_broken_config_is_an_error(tmp_path, monkeypatch):
    def train(job):
        if job.tokens == 'big':
            raise MemoryError('no room')
        if job.tokens == 'broken':
            raise UserError('there is no such data set')
        return Outcome(0.5)

    monkeypatch.setattr(proxies, 'train_scratch', train)
    trainer = ScratchProxy(Config(), get_space('small'), Budget(1), tmp_path)
    assert dict(trainer(['fine', 'big'])) == {
        0: Outcome(0.5),
        1: Outcome(None, 'no room'),
    }
    with pytest.raises(UserError, match='no such data set'):
        list(trainer(['fine', 'broken']))


def test_a_proxy_s_accuracy_is_of_one(read, tmp_path, monkeypatch):
    trials = [Trial('mIoU', 25.0), Trial('mIoU', None, problem='loss is nan')]
    monkeypatch.setattr(proxies, 'train_and_score', lambda *_: trials.pop(0))
    space = get_space('small', 'segmentation')
    tokens = space.random(random.Random(0))
    config = read('lraspp_mnv3_small_demo')
    job = ScratchJob(config, space, tokens, Budget(1), tmp_path)
    assert train_scratch(job) == Outcome(0.25)
    assert train_scratch(job) == Outcome(None, 'loss is nan')


def test_errors_of_the_tool_are_one_line(tmp_path):
    config = ROOT / 'configs/ssdlite_mnv3_small_demo.py'
    args = [config, '--table', 'none.json', '--target-latency', '3ms', '--iters', '1']
    done = fork_tool('nas.py', *args, cwd=tmp_path)
    assert done.returncode == 2
    assert 'error: none.json: there is no such table' in done.stderr.splitlines()[-1]
