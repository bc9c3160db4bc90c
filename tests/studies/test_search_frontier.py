"""The study of the searches; only searching, training and timing are left out."""

import json
from dataclasses import asdict, replace

import pytest
import torch

from mmnv3.arch import get_spec, load_spec, save_spec
from mmnv3.engine.config import read_config
from mmnv3.search.configs import build, config_network
from mmnv3.search.netadapt.comparison import uniform
from mmnv3.search.netadapt.search import FinishedStep, Point
from mmnv3.search.trial import Trial
from studies import search_frontier, whole_trainings
from studies.search_frontier import MULTIPLIER, Entry, multiplier_accuracy, table_of
from tests.conftest import ROOT
from tests.search.nas.oracle import oracle_accuracy, oracle_latency

SPEC = get_spec('small')


def test_what_a_network_has_more_is_at_its_own_latency():
    entries = [
        Entry(MULTIPLIER, '×1', (0.5, 0.6), 4000, SPEC),
        Entry(MULTIPLIER, '×0.5', (0.4, 0.4), 2000, SPEC),
        Entry('NAS', '0.7', (0.55, 0.5), 2500, SPEC),
        Entry('NAS', '1', (0.7, 0.7), 4200, SPEC),
        # Worse and slower than ×0.5: it does not lower what has to be beaten.
        Entry(MULTIPLIER, '×0.6', (0.3, 0.3), 2400, SPEC),
    ]
    # A quarter of the way from 0.4 to 0.55.
    assert multiplier_accuracy(entries, 2500) == pytest.approx(0.4375)
    assert multiplier_accuracy(entries, 4200) is None
    assert multiplier_accuracy(entries, 1999) is None
    # As slow, but for the clock.
    assert multiplier_accuracy(entries, 4010) == pytest.approx(0.55)
    rows = [
        [cell.strip() for cell in row.split('|')[1:-1]]
        for row in table_of(entries).splitlines()[2:]
    ]
    assert rows[2] == ['NAS', '0.7', '2.50', '0.525 (0.550, 0.500)', '+8.8']
    assert rows[0][-1] == '' and rows[3][-1] == '–'


def test_everything_is_done_once_and_drawn(tmp_path, monkeypatch):
    config = read_config(f'{ROOT}/configs/ssdlite_mnv3_small_demo.py')
    seed = config_network(config)
    trained, searched = [], []
    state = build(config).state_dict()

    def train(edited, budget, work_dir, inherited):
        spec = edited.model.backbone.arch
        taught = edited.custom_hooks[-1].type == 'mmnv3.DistillationHook'
        assert taught == (inherited is not None)
        if taught:
            # Those weights fit.
            build(edited).load_state_dict(inherited)
        trained.append(spec)
        accuracy = oracle_accuracy(spec) + budget.seed / 1e3
        return Trial('coco/bbox_mAP', accuracy, state=state)

    full_us = oracle_latency(seed.spec)

    def adapt(model, plan, console):
        searched.append(plan.target)
        assert model.state_dict().keys() == state.keys()
        steps = [FinishedStep(0, Point('seed', full_us, 0.6))]
        for number, part in enumerate((0.9, 0.8, 0.75, 0.69, 0.55), 1):
            place = plan.work_dir / f'step_{number:02}'
            place.mkdir(parents=True, exist_ok=True)
            save_spec(replace(seed.spec, name=f'step{number}'), place / 'spec.json')
            torch.save(dict(state_dict=state), place / 'weights.pth')
            steps.append(FinishedStep(number, Point('', part * full_us, 0.5)))
        return steps

    def search(config, settings, plan, console):
        searched.append(settings.reward.target_us)
        plan.work_dir.mkdir(parents=True, exist_ok=True)
        save_spec(seed.spec, plan.work_dir / 'best.json')

    monkeypatch.setattr(whole_trainings, 'RECORD', tmp_path / 'record.json')
    monkeypatch.setattr(whole_trainings, 'train_and_score', train)
    for module in (whole_trainings, search_frontier):
        monkeypatch.setattr(module, 'schedule_length', lambda config: 10)
    monkeypatch.setattr(search_frontier, 'adapt_config', adapt)
    monkeypatch.setattr(search_frontier, 'search_config', search)
    monkeypatch.setattr(search_frontier, 'search_table', lambda *_: (None, None))
    monkeypatch.setattr(search_frontier, 'config_price', lambda *_: oracle_latency)
    monkeypatch.setattr(search_frontier, 'load_network', lambda graph, _: graph)
    monkeypatch.setattr(search_frontier, 'as_graph', lambda model, size: model)

    def time_networks(models):
        return [oracle_latency(model.backbone.spec) for model in models]

    monkeypatch.setattr(search_frontier, 'time_networks', time_networks)
    config_file, out = f'{ROOT}/configs/ssdlite_mnv3_small_demo.py', tmp_path / 'out'
    for _ in range(2):
        search_frontier.main([config_file, '--out', str(out)])
        # Two seeds each of five multipliers, three by NetAdapt, two by NAS; then one of
        # NetAdapt's and the multiplier as fast, fine-tuned.
        assert len(trained) == 24
    # One way passes by three latencies, of which each takes the first network within.
    assert searched[:3] == ['0.55', full_us, pytest.approx(0.7 * full_us)]
    names = [spec.name for spec in trained[10:16:2]]
    assert names == ['step2', 'step4', 'step5']
    page = (out / 'frontier.md').read_text()
    assert page.count('| NetAdapt') == 4 and page.count('| NAS') == 2
    assert page.count('fine-tuned') == 2
    (first, *_) = json.loads((out / 'frontier.json').read_text())['entries']
    assert first['spec'] == json.loads(json.dumps(asdict(uniform(seed, 1.0).spec)))
    assert (out / 'frontier.png').stat().st_size > 1000
    assert load_spec(out / 'nas_1' / 'best.json') == seed.spec
