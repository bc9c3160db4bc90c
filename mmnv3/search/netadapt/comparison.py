"""The uniform width multiplier that a search has to beat."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

from mmnv3.arch import NetSpec, load_spec, save_spec
from mmnv3.errors import UserError
from mmnv3.search.netadapt import store
from mmnv3.search.netadapt.multipliers import (
    closest_multiplier,
    near_multipliers,
    uniform,
)
from mmnv3.search.netadapt.store import Point, Step
from mmnv3.search.netadapt.task import Job, Search, ms
from mmnv3.search.pool import Failure, run_jobs

# Microseconds of networks that take turns.
Measure = Callable[[Sequence[NetSpec]], list[float]]
FOLDER = 'uniform'
# Multipliers that are measured to find the one that is as fast.
_MEASURED = 8


def compare_uniform(
    search: Search, steps: Sequence[Step], measure: Measure | None = None
) -> Point:
    """Trains the width multiplier that is as fast as what was found.

    It inherits the seed's weights by the same rule, and trains as many iterations as
    the winners did one after the other.

    Args:
        search: The search.
        steps: Its steps, at least one after the seed.
        measure: Decides what is as fast; the price of the search without it.

    Returns:
        The network; its specification and weights are in the folder ``uniform``.

    Raises:
        UserError: When no multiplier is as fast, or its training failed.
    """
    folder = search.work_dir / FOLDER
    with store.clear_disk_errors(search.work_dir):
        width = _choose_width(search, steps, measure, folder / 'width.json')
        path = folder / 'score.json'
        if (point := store.read_point(path)) is None:
            spec = uniform(search.seed, width, search.rules)
            budget = replace(
                search.budget, iterations=search.budget.iterations * (len(steps) - 1)
            )
            job = Job(search.seed, spec, search.state, budget, folder / 'log')
            ((_, trial),) = run_jobs(search.attempt, [job], search.ray)
            if isinstance(trial, Failure):
                raise trial.error
            point = Point(f'×{width:g}', search.price(spec), trial.value, trial.problem)
            save_spec(spec, folder / 'spec.json')
            store.write_point(path, point, trial)
    search.report(f'width multiplier {point}')
    return point


def _choose_width(
    search: Search, steps: Sequence[Step], measure: Measure | None, path: Path
) -> float:
    """Chooses once: another measurement might choose another."""
    if (known := store.read_json(path)) is not None:
        return known['width']
    latency = steps[-1].winner.latency
    width = closest_multiplier(search.seed, search.price, latency, search.rules)
    if width is None:
        raise UserError(f'no width multiplier is as fast as {ms(latency)}')
    chosen = dict(width=width)
    if measure is not None:
        widths = near_multipliers(search.seed, width, _MEASURED, search.rules)
        last = store.step_dir(search.work_dir, steps[-1].number)
        found, *others = measure(
            [
                load_spec(last / 'spec.json'),
                *(uniform(search.seed, width, search.rules) for width in widths),
            ]
        )
        # In microseconds, as everything that is stored.
        measured = dict(zip(widths, others, strict=True))
        width = min(measured, key=lambda width: abs(measured[width] - found))
        chosen = dict(width=width, found=found, measured=measured)
    store.write_json(path, chosen)
    return width
