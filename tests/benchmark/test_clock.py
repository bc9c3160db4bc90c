"""The one clock: who is called when, and what counts."""

import numpy as np
import pytest

from mmnv3.benchmark import clock
from mmnv3.benchmark.clock import Summary, fast_us, pace, time_stages, time_turns


@pytest.fixture
def seconds(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The time of day, which only the test moves on."""
    now = [0.0]
    for name in ('perf_counter', 'monotonic'):
        monkeypatch.setattr(clock.time, name, lambda: now[0])
    return now


def test_calls_take_turns_and_warm_up_does_not_count(seconds: list[float]) -> None:
    called = ''

    def call(name: str, first: float, later: float):
        def run() -> None:
            nonlocal called
            seconds[0] += first if called.count(name) < 2 else later
            called += name

        return run

    found = time_turns([call('a', 9, 1), call('b', 7, 2)], runs=3, warm_up=2)
    assert called == 'ab' * 5
    np.testing.assert_allclose(found, [[1e6, 2e6]] * 3)


def test_a_turn_of_several_calls_warms_up_itself(seconds: list[float]) -> None:
    called = ''

    def call(name: str):
        def run() -> None:
            nonlocal called
            # The first call after another's pays for the cache.
            seconds[0] += 1 if called.endswith(name) else 5
            called += name

        return run

    found = time_turns([call('a'), call('b')], runs=3, warm_up=1, turn=2)
    assert called == 'ab' + 'aaabbb' * 2
    # As many turns as it takes: two of two, for three runs.
    np.testing.assert_allclose(found, np.full((4, 2), 1e6))


def test_turns_go_on_for_the_least_seconds(seconds: list[float]) -> None:
    def call() -> None:
        seconds[0] += 1

    assert time_turns([call], runs=2, warm_up=0, least_seconds=5).shape == (5, 1)
    assert time_turns([call], runs=7, warm_up=0, least_seconds=5).shape == (7, 1)


def test_stages_pass_on_what_they_return(seconds: list[float]) -> None:
    calls = []

    def stage(name: str, takes: float):
        def step(state: object) -> str:
            calls.append((name, state))
            seconds[0] += takes
            return name

        return step

    found = time_stages(
        [
            ({'network': stage('a1', 3), 'post': stage('a2', 1)}, 'picture'),
            ({'network': stage('b1', 2)}, 'other'),
        ],
        runs=3,
        warm_up=2,
    )
    assert calls == [('a1', 'picture'), ('a2', 'a1'), ('b1', 'other')] * 5
    assert [list(times_ms) for times_ms in found] == [['network', 'post'], ['network']]
    np.testing.assert_allclose(found[0]['network'], [3e3] * 3)
    np.testing.assert_allclose(found[0]['post'], [1e3] * 3)
    np.testing.assert_allclose(found[1]['network'], [2e3] * 3)


def test_a_summary_says_how_far_runs_spread() -> None:
    summary = Summary.of(np.arange(1.0, 12.0))
    assert (summary.p50, summary.p90) == (6, 10)
    assert summary.p99 == pytest.approx(10.9)
    assert summary.spread == pytest.approx((10 - 2) / 6)


def test_fast_runs_are_the_true_ones() -> None:
    times_us = np.stack([np.arange(11.0), 10 * np.arange(11.0)], axis=1)
    np.testing.assert_allclose(fast_us(times_us), [2, 20])


def test_the_pace_of_a_machine() -> None:
    assert pace(12, 10) == pytest.approx(1.2)
    assert pace(12, None) == 1
