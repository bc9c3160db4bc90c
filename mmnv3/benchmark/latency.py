"""How long models take for pictures, stage by stage."""

from __future__ import annotations

import time
from collections.abc import Hashable, Mapping
from dataclasses import dataclass
from typing import Any, TypeVar

import numpy as np
import torch

from mmnv3.benchmark.subject import Stages

Name = TypeVar('Name', bound=Hashable)


@torch.no_grad()
def measure(
    models: Mapping[Name, tuple[Stages, Any]], runs: int = 50, warmup: int = 5
) -> dict[Name, dict[str, np.ndarray]]:
    """Times the stages of models, which take turns, so that noise meets all alike.

    Args:
        models: Stages, and what the first of them takes, by name.
        runs: Measured runs of each.
        warmup: Runs before them that do not count.

    Returns:
        Milliseconds of every run, ``(runs,)``, by model and stage.
    """
    times = {
        name: {stage: [] for stage in stages} for name, (stages, _) in models.items()
    }
    for _ in range(warmup + runs):
        for name, (stages, state) in models.items():
            for stage, step in stages.items():
                begin = time.perf_counter()
                state = step(state)
                times[name][stage].append(1e3 * (time.perf_counter() - begin))
    return {
        name: {stage: np.array(values[warmup:]) for stage, values in found.items()}
        for name, found in times.items()
    }


@dataclass(frozen=True)
class Summary:
    """What runs took.

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
        """Summarises runs, ``(runs,)``."""
        p10, p50, p90, p99 = map(float, np.percentile(times, (10, 50, 90, 99)))
        return cls(p50, p90, p99, (p90 - p10) / p50 if p50 else 0.0)
