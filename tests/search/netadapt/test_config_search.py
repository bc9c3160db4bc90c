"""NetAdapt of a config from start to plot; only training is left out."""

import io
import pickle
import re
from dataclasses import replace
from types import SimpleNamespace

import pytest
import torch
from rich.console import Console

from mmnv3.engine.build import build_model
from mmnv3.engine.config import read_config
from mmnv3.errors import UserError
from mmnv3.search.configs import Budget, build, config_network, with_spec
from mmnv3.search.latency import measuring
from mmnv3.search.latency.measuring import search_table
from mmnv3.search.latency.price import config_price
from mmnv3.search.latency.table import Execution, LatencyTable
from mmnv3.search.latency.tracing import trace
from mmnv3.search.netadapt import comparison, config_search
from mmnv3.search.netadapt.comparison import config_measure, uniform
from mmnv3.search.netadapt.config_search import NetAdaptPlan, Trainer, adapt_config
from mmnv3.search.netadapt.proposals import narrowest
from mmnv3.search.netadapt.search import Cut
from mmnv3.search.trial import Trial
from mmnv3.size import Size
from tests.search.conftest import law

OPTIONS = {'optim_wrapper.optimizer.lr': 0.07}


@pytest.fixture
def trained(monkeypatch) -> list[Trial]:
    """What became of trainings: they inherit, and the first multiplier diverges."""
    trials = []

    def train(config, budget, work_dir, state):
        diverges = work_dir.parent.name == 'uniform' and all(t.state for t in trials)
        trial = Trial('coco/bbox_mAP', 0.5, state=state)
        if diverges:
            trial = Trial('coco/bbox_mAP', None, problem='loss is not finite')
        trials.append(trial)
        return trial

    monkeypatch.setattr(config_search, 'train_and_score', train)
    return trials


@pytest.fixture(scope='module')
def table(detection_config, tmp_path_factory):
    """Of another machine, on which nothing is measured whole."""
    table = LatencyTable.new(Execution('pytorch'))
    table.machine = {**table.machine, 'processor': 'Pixel 1'}
    config = read_config(str(detection_config))
    seed = config_network(config)
    for network in (seed, uniform(seed, 0.5), narrowest(seed)):
        model = build(with_spec(config, network.spec))
        for layer in trace(model, Size(128, 128)).layers:
            table[layer] = law(layer)
    path = tmp_path_factory.mktemp('table') / 'table.json'
    table.save(path)
    return path


@pytest.mark.filterwarnings('ignore')
def test_a_search_is_continued_with_the_same_settings_only(
    detection_config, table, trained, tmp_path
):
    def run(plan, options=None):
        console = Console(file=io.StringIO(), width=200)
        adapt_config(build_model(str(detection_config), options), plan, console)
        return console.file.getvalue()

    folder = tmp_path / 'work'
    plan = NetAdaptPlan(table, '0.9', Budget(1), folder, delta=0.1, compare_width=True)
    # A multiplier that diverges does not keep what was found from being written.
    text = run(plan)
    assert 'width multiplier ×' in text and 'loss is not finite' in text
    assert f'{folder}/found.py is the config, found.pth the weights' in text
    assert not (folder / 'uniform.py').exists()
    assert (folder / 'trajectory.png').exists()

    # It is tried again; the rest is done.
    count = len(trained)
    text = run(plan)
    assert 'continuing the search' in text and len(trained) == count + 1
    assert f'{folder}/uniform.py is the config, uniform.pth the weights' in text
    for name in ('found', 'uniform'):
        build_model(f'{folder}/{name}.py', None, f'{folder}/{name}.pth')

    # Whatever the outcome depends on is told by its name.
    lr = r'another config\.optim_wrapper\.optimizer\.lr \(\S+, now 0\.07\)'
    with pytest.raises(UserError, match=lr):
        run(plan, OPTIONS)
    other = tmp_path / 'other.json'
    other.write_text(table.read_text().replace('Pixel 1', 'Pixel 3'))
    machine = r'another table\.machine\.processor \(Pixel 1, now Pixel 3\)'
    with pytest.raises(UserError, match=machine):
        run(replace(plan, table=other))
    assert len(trained) == count + 1


@pytest.mark.filterwarnings('ignore')
def test_a_config_a_checkpoint_and_a_latency_are_enough(
    detection_config, machine, trained, tmp_path, monkeypatch
):
    for name in ('load_network', 'time_networks'):
        monkeypatch.setattr(comparison, name, getattr(measuring, name))
    monkeypatch.setenv('XDG_CACHE_HOME', str(tmp_path / 'cache'))
    model = build_model(str(detection_config))
    before = {key: value.clone() for key, value in model.state_dict().items()}
    folder, console = tmp_path / 'my work', Console(file=io.StringIO(), width=400)
    plan = NetAdaptPlan(
        None, '0.98', Budget(1), folder, distill=True, execution=Execution('pytorch')
    )
    steps = adapt_config(model, plan, console)
    # The table was measured by the same model.
    assert all(torch.equal(model.state_dict()[key], before[key]) for key in before)
    text = console.file.getvalue()
    # A tenth of what is cut would be less than the paper's hundredth.
    assert 'at most 2 steps of up to' in text and 'measured now' in text
    assert steps[-1].winner.latency_us <= 0.98 * steps[0].winner.latency_us
    told = re.search(r'turns on this machine: the seed (\S+) ms, found (\S+)', text)
    assert float(told[2]) < float(told[1])
    # As a shell takes them.
    assert f"python -m mmnv3 train '{folder}/found.py'\n" in text
    # The file that was priced.
    assert f"'{folder}/found.pth' --format pytorch --out '{folder}/found.pt2'" in text
    # The teacher goes where the folder goes.
    (hook,) = [
        hook
        for hook in read_config(str(folder / 'found.py')).custom_hooks
        if hook.type == 'mmnv3.DistillationHook'
    ]
    assert hook.config == f'{folder}/teacher.py'
    build_model(hook.config, None, hook.checkpoint)
    (kept,) = (tmp_path / 'cache').rglob('pytorch-*.json')
    table = LatencyTable.load(kept)
    assert (
        table == search_table(None, Execution('pytorch'))[0] and len(table.layers) > 50
    )


def test_trainings_travel_to_other_machines(read, tmp_path):
    config = read('ssdlite_mnv3_small_demo')
    seed = config_network(config)
    cut = Cut(seed, seed, dict(w=torch.ones(3)), Budget(1), tmp_path)
    trainer, back = pickle.loads(pickle.dumps((Trainer(config), cut)))
    assert trainer.config.model == config.model and back.new == seed


def test_pictures_of_any_size_are_not_priced_at_a_made_up_one(read):
    config, sizes = read('lraspp_mnv3_small_demo'), []
    table = SimpleNamespace(
        latency_us=lambda layers, overhead: sizes.append(overhead.size) or 1.0
    )
    for price in (config_price, config_measure):
        with pytest.raises(UserError, match=r'demo.*say one with --size WIDTH HEIGHT'):
            price(config, table)
    assert config_price(config, table, (96, 64))(config_network(config).spec) == 1
    assert set(sizes) == {(96, 64)}
