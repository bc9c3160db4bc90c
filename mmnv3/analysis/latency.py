"""How long models take for one picture, stage by stage."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor

# The stages of a model in their order: each takes what the one before it returned, the
# first the picture.
Stages = Mapping[str, Callable[[Any], Any]]


@torch.no_grad()
def measure(
    models: Mapping[str, tuple[Stages, Tensor]], runs: int = 50, warmup: int = 5
) -> dict[str, dict[str, np.ndarray]]:
    """Times the stages of models, which take turns, so that noise meets all alike.

    Args:
        models: Stages and the picture, (1, 3, H, W), by name.
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
