import random

import pytest
import torch

from mmnv3.search.nas.controller import PPO, Controller, PPOSettings
from mmnv3.search.nas.reward import make_reward
from mmnv3.search.nas.space import get_space
from tests.search.nas.oracle import oracle_accuracy, oracle_latency


def learn(reward, kinds, repeats, seed, batches, batch_size=10, settings=None):
    """Returns the controller, and the rewards of every batch."""
    torch.manual_seed(seed)
    controller = Controller(kinds, repeats)
    ppo = PPO(controller, settings or PPOSettings())
    generator = torch.Generator().manual_seed(seed)
    history = []
    for _ in range(batches):
        tokens = controller.sample(batch_size, generator).tolist()
        rewards = [reward(sequence) for sequence in tokens]
        ppo.update(tokens, rewards)
        history.append(rewards)
    return controller, history


def test_bandit():
    arms = (0.1, 0.3, 0.2, 0.9, 0.4)
    controller, history = learn(lambda tokens: arms[tokens[0]], [5], 1, 0, 60)
    log_probs, _ = controller.evaluate(torch.arange(5)[:, None])
    assert log_probs.argmax() == 3
    assert log_probs[3].exp() > 0.9
    assert sum(history[0]) < sum(history[-1])


def test_a_choice_may_depend_on_those_before():
    def reward(tokens):
        return float(tokens[1] == 2 * tokens[0])

    settings = PPOSettings(lr=0.01)
    _, history = learn(reward, [2, 3], 1, 0, 80, settings=settings)
    assert sum(map(sum, history[-5:])) >= 45


def test_probabilities_are_those_that_are_drawn_from():
    torch.manual_seed(0)
    controller = Controller([2, 3], 2)
    drawn = controller.sample(4000, torch.Generator().manual_seed(0))
    log_probs, entropies = controller.evaluate(drawn)
    assert drawn.shape == log_probs.shape == entropies.shape == (4000, 4)
    assert drawn.max(0).values.tolist() == [1, 2, 1, 2]
    sequences, counts = drawn.unique(dim=0, return_counts=True)
    expected = controller.evaluate(sequences)[0].sum(1).exp()
    assert len(sequences) == 36
    torch.testing.assert_close(counts / 4000, expected, atol=0.015, rtol=0)
    assert expected.sum().item() == pytest.approx(1, abs=1e-5)


def test_same_seed_same_learning():
    runs = [learn(sum, [3, 2], 2, 7, 3)[1] for _ in range(2)]
    assert runs[0] == runs[1] != learn(sum, [3, 2], 2, 8, 3)[1]


def test_nothing_to_learn_from_changes_nothing():
    ppo = PPO(Controller([2], 1))
    before = [parameter.clone() for parameter in ppo.controller.parameters()]
    ppo.update([], [])
    assert ppo.baseline is None
    assert all(map(torch.equal, before, ppo.controller.parameters()))


def beats_random_search(seed, samples=300):
    space = get_space('small')
    reward = make_reward(2000, 'small')

    def value(tokens):
        spec = space.decode(tokens)
        return reward(oracle_accuracy(spec), oracle_latency(spec))

    rng = random.Random(seed)
    at_random = max(value(space.random(rng)) for _ in range(samples))
    kinds = [len(options) for options in space.choices.values()]
    _, history = learn(value, kinds, len(space.stages), seed, samples // 10)
    return max(map(max, history)) > at_random


def test_beats_random_search():
    assert beats_random_search(0)


@pytest.mark.slow  # Half a minute: a search for each of ten seeds.
def test_beats_random_search_in_nine_of_ten():
    assert sum(map(beats_random_search, range(10))) >= 9
