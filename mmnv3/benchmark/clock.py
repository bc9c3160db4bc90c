"""The one clock: how long calls take that take turns."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np

# Other programs can only make a call longer, so that fast calls are the true ones; the
# very fastest of many would depend on how many there are.
FAST_QUANTILE = 0.2

# Parts of a model, in their order: each takes what the one before it returned.
Stages = Mapping[str, Callable[[Any], Any]]


def time_turns(
    calls: Sequence[Callable[[], object]],
    *,
    runs: int,
    warm_up: int = 3,
    turn: int = 1,
    least_seconds: float = 0.0,
) -> np.ndarray:
    """Times calls that take turns, so that the processor's pace meets all alike.

    Args:
        calls: What is called.
        runs: Measured calls of each, at least.
        warm_up: Calls that do not count: the first of all, and where a turn has several
            calls the first of every turn, since others have emptied the processor's
            cache.
        turn: Measured calls of one turn.
        least_seconds: How long they take turns at least, if that needs more runs.

    Returns:
        Microseconds of every measured call, (runs, calls).
    """
    laps = [partial(_time_call, call) for call in calls]
    times = _take_turns(laps, runs, warm_up, turn, least_seconds)
    return 1e6 * np.array(times)[..., 0].T


def time_stages(
    models: Sequence[tuple[Stages, Any]], *, runs: int, warm_up: int = 3
) -> list[dict[str, np.ndarray]]:
    """Times models stage by stage; the models take turns.

    Args:
        models: The stages of each, as many, and what the first of them takes.
        runs: Measured runs of each.
        warm_up: Runs before them that do not count.

    Returns:
        Milliseconds of every run, (runs,), by the stage's name, for each model.
    """
    laps = [partial(_time_stages, list(stages.values()), x) for stages, x in models]
    times = _take_turns(laps, runs, warm_up)
    return [
        dict(zip(stages, 1e3 * np.array(found).T))
        for (stages, _), found in zip(models, times)
    ]


def fast_us(times_us: np.ndarray) -> np.ndarray:
    """What each call takes undisturbed: the quantile :data:`FAST_QUANTILE` of its runs.

    Args:
        times_us: What :func:`time_turns` returns, (runs, calls).

    Returns:
        Microseconds, (calls,).
    """
    return np.quantile(times_us, FAST_QUANTILE, axis=0)


def pace(now_us: float, then_us: float | None) -> float:
    """How slow a machine is, by something that was timed before.

    Args:
        now_us: Microseconds that it takes now.
        then_us: Microseconds that it took then; None where nobody knows.

    Returns:
        The proportion; 1 where it is not known.
    """
    return now_us / then_us if then_us else 1.0


class Stopwatch:
    """Counts the seconds of something that runs once, from when it is made."""

    def __init__(self) -> None:
        self._begin = time.perf_counter()

    @property
    def seconds(self) -> float:
        """Since then."""
        return time.perf_counter() - self._begin


@dataclass(frozen=True)
class Summary:
    """What runs took, in the unit of their times.

    Attributes:
        p50: Median.
        p90: Nine of ten took no longer.
        p99: Ninety-nine of a hundred took no longer.
        spread: The distance from the fastest to the slowest of the middle four fifths
            of the runs, as a fraction of the median.
    """

    p50: float
    p90: float
    p99: float
    spread: float

    @classmethod
    def of(cls, times: np.ndarray) -> Summary:
        """Summarises runs, (runs,)."""
        p10, p50, p90, p99 = map(float, np.percentile(times, (10, 50, 90, 99)))
        return cls(p50, p90, p99, (p90 - p10) / p50 if p50 else 0.0)


def _take_turns(
    laps: Sequence[Callable[[], Sequence[float]]],
    runs: int,
    warm_up: int,
    turn: int = 1,
    least_seconds: float = 0.0,
) -> list[list[Sequence[float]]]:
    """Lets calls take turns that time themselves; see :func:`time_turns`.

    Returns:
        What each of them returned at every measured run.
    """
    for _ in range(warm_up):
        for lap in laps:
            lap()
    found: list[list[Sequence[float]]] = [[] for _ in laps]
    unmeasured = warm_up if turn > 1 else 0
    end = time.monotonic() + least_seconds
    while len(found[-1]) < runs or time.monotonic() < end:
        for lap, own in zip(laps, found):
            for _ in range(unmeasured):
                lap()
            own += [lap() for _ in range(turn)]
    return found


def _time_call(call: Callable[[], object]) -> tuple[float]:
    begin = time.perf_counter()
    call()
    return (time.perf_counter() - begin,)


def _time_stages(stages: Sequence[Callable[[Any], Any]], state: Any) -> list[float]:
    ends = [time.perf_counter()]
    for stage in stages:
        state = stage(state)
        ends.append(time.perf_counter())
    return [end - begin for begin, end in zip(ends, ends[1:])]
