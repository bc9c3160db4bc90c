"""Width multipliers, and the one that a search is compared with."""

import json

import numpy as np
import pytest

from mmnv3.search.netadapt.comparison import (
    closest_multiplier,
    compare_uniform,
    near_multipliers,
    uniform,
)
from mmnv3.search.netadapt.search import adapt, step_name
from mmnv3.search.trial import Trial
from tests.search.netadapt.oracle import LATENCY, SEED, madds, oracle, search


def test_uniform_multipliers_keep_the_residuals_of_the_seed():
    for width in (0.35, 0.5, 0.74):
        pairs = zip(SEED.plans(), uniform(SEED, width).plans())
        assert all(a.residual or not b.residual for a, b in pairs)
    target = 0.7 * LATENCY
    width = closest_multiplier(SEED, madds, target)
    error = abs(madds(uniform(SEED, width).spec) - target)
    for percent in range(30, 100):
        assert abs(madds(uniform(SEED, percent / 100).spec) - target) >= error
    assert closest_multiplier(SEED, madds, LATENCY) == 1
    assert closest_multiplier(SEED, madds, 1) is None


def test_near_multipliers_are_other_networks_each():
    widths = near_multipliers(SEED, 0.6, 5)
    assert widths[0] == 0.6 and len(widths) == 5
    everything = near_multipliers(SEED, 1.0, 1000)
    assert everything[0] == 1.0 and min(everything) < 0.3
    networks = [uniform(SEED, width).spec for width in everything]
    assert len({(net.stem, net.blocks, net.last) for net in networks}) == len(networks)
    assert len(networks) < 75


@pytest.mark.parametrize('criterion', ['ratio', 'accuracy'])
def test_the_frontier_beats_uniform_widths(tmp_path, criterion):
    """An oracle instead of training: concave in every block, of unequal weight."""
    task = search(tmp_path, target_us=0.4 * LATENCY, delta=0.02, criterion=criterion)
    steps = adapt(task)
    assert steps[-1].winner.latency_us <= 0.4 * LATENCY
    way = sorted((step.winner.latency_us, step.winner.accuracy) for step in steps)
    for percent in range(50, 99):
        scaled = uniform(SEED, percent / 100).spec
        if way[0][0] < madds(scaled) < LATENCY:
            # Between two steps of the way lies a line.
            assert np.interp(madds(scaled), *zip(*way)) > oracle(scaled)
    assert compare_uniform(task, steps).accuracy < steps[-1].winner.accuracy


def test_the_multiplier_as_fast_by_measurement_is_compared(tmp_path):
    """A machine on which wide stems cost nothing measures other latencies."""
    task = search(tmp_path)
    steps = adapt(task)
    last = step_name(steps[-1].number)
    found = task.folder.read_spec(f'{last}/spec.json')
    asked = []

    def measure(specs):
        asked.append(specs)
        return [madds(spec) * (1.0 if spec == found else 1.05) for spec in specs]

    by_price_task = search(tmp_path / 'price')
    by_price = compare_uniform(by_price_task, adapt(by_price_task))
    compared = compare_uniform(task, steps, measure)
    first, *others = asked[0]
    assert first == found and len(set(others)) == len(others) == 8
    chosen = json.loads((tmp_path / 'uniform' / 'width.json').read_text())
    assert compared.name == f'×{chosen["width"]:g}'
    gaps = {w: abs(us - chosen['found_us']) for w, us in chosen['measured_us'].items()}
    assert gaps[f'{chosen["width"]:g}'] == min(gaps.values())
    # What measures slower has to be thinner.
    assert compared.latency_us < by_price.latency_us
    # Chosen once.
    assert compare_uniform(task, steps, measure) == compared and len(asked) == 1


def test_a_multiplier_whose_training_is_not_a_number_is_tried_again(tmp_path):
    task = search(tmp_path)
    steps = adapt(task)

    def diverge(cut):
        return Trial('oracle', None, dict(oracle=float('nan')), problem='loss is nan')

    for _ in range(2):
        compared = compare_uniform(search(tmp_path, attempt=diverge), steps)
        assert compared.accuracy is None and compared.problem == 'loss is nan'
    # JSON as others read it has no NaN.
    score = (tmp_path / 'uniform' / 'score.json').read_text()
    assert json.loads(score, parse_constant=pytest.fail)['metrics'] == {'oracle': None}
    compared = compare_uniform(task, steps)
    assert compared.accuracy is not None
    assert task.folder.read_weights('uniform/score.pth')
