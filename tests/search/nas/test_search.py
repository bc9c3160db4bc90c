import math
import random
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from mmnv3.errors import UserError
from mmnv3.search.folder import Folder
from mmnv3.search.nas import evolution
from mmnv3.search.nas.reward import make_reward
from mmnv3.search.nas.search import (
    HISTORY,
    STRATEGIES,
    NASearch,
    NASSettings,
    Outcome,
    Sample,
    best,
    check_target,
    pareto,
)
from mmnv3.search.nas.space import get_space
from tests.search.nas.oracle import evaluator, oracle_latency

SPACE = get_space('small')
evaluate = evaluator(SPACE)
SETTINGS = NASSettings(
    make_reward(2000, 'small'), samples=12, batch_size=4, strategy='ppo'
)


class Killed(BaseException):
    pass


def killed_after(count):
    """An oracle that ends the process, as it were, after so many evaluations."""
    left = [count]

    def evaluate_some(networks):
        for index, outcome in evaluate(networks):
            if not left[0]:
                raise Killed
            left[0] -= 1
            yield index, outcome

    return evaluate_some


def search(folder, evaluate=evaluate, settings=SETTINGS, **options):
    return NASearch(SPACE, oracle_latency, evaluate, settings, folder, **options)


def weights(search):
    controller = search.strategy.controller
    return torch.cat([p.flatten() for p in controller.parameters()])


@pytest.mark.parametrize('count', [0, 2, 4, 6, 11])
@pytest.mark.parametrize('strategy', STRATEGIES)
def test_killed_and_resumed_equals_uninterrupted(
    tmp_path, strategy, count, monkeypatch
):
    # So that some of the samples are children.
    monkeypatch.setattr(evolution, 'POPULATION', 6)
    settings = replace(SETTINGS, strategy=strategy)
    whole = search(tmp_path / 'whole', settings=settings)
    whole.run()
    with pytest.raises(Killed):
        search(tmp_path / 'killed', killed_after(count), settings).run()
    # All that was evaluated before is not evaluated again.
    resumed = search(tmp_path / 'killed', killed_after(12 - count), settings)
    assert resumed.run() == whole.samples
    assert torch.equal(resumed.generator.get_state(), whole.generator.get_state())
    if strategy == 'ppo':
        assert torch.equal(weights(resumed), weights(whole))
        assert resumed.strategy.baseline == whole.strategy.baseline
    else:
        assert resumed.strategy.found == whole.strategy.found


def test_a_finished_search_goes_on_with_more_samples(tmp_path):
    once = search(tmp_path / 'once', settings=replace(SETTINGS, samples=16)).run()
    search(tmp_path / 'twice').run()
    more = search(tmp_path / 'twice', settings=replace(SETTINGS, samples=16)).run()
    assert more == once


def test_other_settings_are_refused(tmp_path):
    search(tmp_path, conditions=dict(budget=dict(iterations=50))).run()
    for name, change in {
        r'budget.iterations \(50, now 60\)': dict(
            conditions=dict(budget=dict(iterations=60))
        ),
        r'budget \(.*, now none\)': {},
        r'reward.target_us \(2000, now 2100\)': dict(
            settings=replace(SETTINGS, reward=make_reward(2100, 'small'))
        ),
        r'seed \(0, now 1\)': dict(settings=replace(SETTINGS, seed=1)),
        r'strategy \(ppo, now evolution\)': dict(
            settings=replace(SETTINGS, strategy='evolution')
        ),
    }.items():
        with pytest.raises(UserError, match=f'another {name}; name another'):
            search(tmp_path, **change)


def test_not_a_number_is_dropped_and_logged(tmp_path):
    def sometimes_nan(networks):
        for index, outcome in evaluate(networks):
            yield index, Outcome(math.nan) if index == 1 else outcome

    reported = []
    samples = search(tmp_path, sometimes_nan, report=reported.append).run()
    dropped = [sample for sample in samples if sample.accuracy is None]
    assert [sample.index for sample in dropped] == [1, 5, 9]
    assert {sample.problem for sample in dropped} == {'its accuracy is nan'}
    assert reported == samples
    assert dropped[0] in map(Sample.of_row, Folder(tmp_path).read_rows(HISTORY))
    assert best(samples).accuracy is not None
    assert not set(pareto(samples)) & set(dropped)


def test_ctrl_c_ends_the_search_which_goes_on_to_the_same(tmp_path):
    def interrupted(networks):
        for number, (index, outcome) in enumerate(evaluate(networks)):
            if number == 2:
                raise KeyboardInterrupt
            yield index, outcome

    with pytest.raises(KeyboardInterrupt):
        search(tmp_path / 'a', interrupted).run()
    assert search(tmp_path / 'a').run() == search(tmp_path / 'b').run()


@pytest.mark.parametrize(
    ('change', 'said'),
    [
        (lambda state: state.pop('strategy'), 'strategy'),
        (lambda state: state['strategy'].update(baseline=math.nan), 'not finite'),
        (
            lambda state: state['strategy']['controller']['embed.weight'].fill_(
                math.nan
            ),
            'not finite',
        ),
        (lambda state: state['strategy']['controller'].popitem(), 'Controller'),
        (lambda state: state.update(generator=torch.zeros(3)), ''),
        (lambda state: state['samples'][0].update(tokens=[0]), '1 tokens'),
        (lambda state: state['samples'][0].update(tokens=[99] * 30), 'out of range'),
        (lambda state: state['samples'][0].update(accuracy='1'), 'impossible values'),
        (lambda state: state['samples'][0].update(latency_us=0), 'impossible values'),
        (lambda state: state['samples'].append(3), 'no sample'),
    ],
)
def test_an_edited_state_is_one_line(tmp_path, change, said):
    found = search(tmp_path)
    found._save()
    found.samples = [Sample(0, SPACE.random(random.Random(0)), 2.0, 0.5, 0.5)]
    found._save()
    state = torch.load(tmp_path / 'state.pt', weights_only=True)
    change(state)
    torch.save(state, tmp_path / 'state.pt')
    with pytest.raises(UserError, match=rf'state\.pt is damaged \(.*{said}.*; delete'):
        search(tmp_path)


def test_an_edited_evolution_is_one_line(tmp_path):
    settings = replace(SETTINGS, strategy='evolution')
    search(tmp_path, settings=settings).run()
    state = torch.load(tmp_path / 'state.pt', weights_only=True)
    state['strategy']['found'][0][1] = math.nan
    torch.save(state, tmp_path / 'state.pt')
    with pytest.raises(UserError, match=r'state\.pt is damaged \(.*not finite'):
        search(tmp_path, settings=settings)


def test_an_unknown_strategy():
    with pytest.raises(UserError, match='possible: evolution, ppo'):
        replace(SETTINGS, strategy='chance')


def test_a_batch_without_an_accuracy_stops(tmp_path):
    def broken(networks):
        for index, _ in enumerate(networks):
            yield index, Outcome(None, 'loss_cls is nan')

    with pytest.raises(UserError, match=r'none of 4 .* loss_cls is nan; raise --iters'):
        search(tmp_path, broken).run()


def test_a_network_is_evaluated_once(tmp_path):
    seen = []

    def count(networks):
        seen.extend(networks)
        return evaluate(networks)

    found = search(tmp_path, count)
    tokens = SPACE.uniform(
        op='separable', kernel=3, se=0.0, residual=True, filters=1.0, layers=0
    )
    # The first stage has one layer, so one less is the same network.
    same = (*tokens[:5], 0, *tokens[6:])
    batch = found._evaluate([tokens, same, tokens])
    assert len(seen) == 1 and [sample.index for sample in batch] == [0, 1, 2]
    assert len({sample.reward for sample in batch}) == 1


def test_workers_may_end_in_any_order(tmp_path):
    def backwards(networks):
        return reversed(list(evaluate(networks)))

    assert search(tmp_path / 'a', backwards).run() == search(tmp_path / 'b').run()


def test_full_disk(tmp_path, monkeypatch):
    found = search(tmp_path)
    found.run()
    before = (tmp_path / 'state.pt').read_bytes()

    def full(path, data):
        path.touch()
        raise OSError(28, 'No space left on device')

    monkeypatch.setattr(Path, 'write_bytes', full)
    more = search(tmp_path, settings=replace(SETTINGS, samples=16))
    with pytest.raises(UserError, match=r'state.pt cannot be written \(No space left'):
        more.run()
    assert (tmp_path / 'state.pt').read_bytes() == before
    monkeypatch.undo()
    # The last batch's evaluations were kept.
    again = search(tmp_path, killed_after(0), replace(SETTINGS, samples=16))
    assert len(again.run()) == 16


def test_pareto_by_hand():
    points = [(3, 0.5), (1, 0.2), (2, 0.4), (2, 0.3), (4, 0.5), (5, None), (6, 0.6)]
    samples = [Sample(i, (), ms, acc, acc) for i, (ms, acc) in enumerate(points)]
    assert [sample.index for sample in pareto(samples)] == [1, 2, 0, 6]
    assert best(samples).index == 6
    with pytest.raises(UserError, match='no sample has a reward yet'):
        best(samples[5:6])


@pytest.mark.parametrize(
    ('target', 'message'),
    [(10, 'cannot be reached'), (1e6, 'is already met')],
)
def test_targets_outside_the_space(target, message):
    with pytest.raises(UserError, match=message + '.*; choose one between') as caught:
        check_target(SPACE, oracle_latency, target)
    assert '\n' not in str(caught.value)


def test_a_target_inside_the_space():
    fastest, slowest = check_target(SPACE, oracle_latency, 2000)
    assert fastest < 2000 < slowest


def test_a_batch_of_one_says_nothing():
    with pytest.raises(UserError, match='--batch-size 1 with --samples 12'):
        replace(SETTINGS, batch_size=1)
