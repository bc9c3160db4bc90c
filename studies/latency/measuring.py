"""Times the networks of a study."""

from __future__ import annotations

import datetime
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

import numpy as np

from mmnv3.benchmark.clock import Stages, Summary, time_stages
from mmnv3.benchmark.machine import describe_machine
from mmnv3.benchmark.timed_model import NETWORK
from mmnv3.deploy.runtime import BACKENDS, Runtime, load_runtime, run_graph
from studies.latency.preparing import exported_path, graph_of, pairs
from studies.latency.results import Measured, Timed
from studies.latency.study import Study
from studies.latency.variant import Variant
from studies.networks import cost

THREADS = 1
_WARMUP = 3
_LEAST_RUNS = 2
# Digits of milliseconds that are kept.
_DIGITS = 4


def measure_study(
    study: Study,
    backends: Sequence[str],
    folder: Path,
    runs: int,
    notes: Sequence[str] = (),
) -> Measured:
    """Times every network of a study on every backend, one thread, one picture.

    All take turns, so that noise meets all alike. A turn is two calls, of which the
    second counts: it finds the caches as a repeated call leaves them, and not as the
    other networks do.

    Args:
        study: The study; its files were exported.
        backends: What to run them by.
        folder: Where the exported files are.
        runs: Turns; a study of large pictures has its share of them.
        notes: What has to be said of backends that are missing.
    """
    every = list(pairs(study, backends))
    names = [name for name in backends if any(name == used for *_, used in every)]
    times: dict[tuple[int, str], np.ndarray] = {}
    runs = max(_LEAST_RUNS, round(runs * study.share))
    for group in [[name] for name in names] if study.apart else [names]:
        models = {
            (index, backend): _turn(_load(folder, variant, backend))
            for index, variant, backend in every
            if backend in group
        }
        found = time_stages(list(models.values()), runs=runs, warm_up=_WARMUP)
        for name, stages in zip(models, found):
            times[name] = stages[NETWORK]
    networks = []
    for index, entry in enumerate(study.entries):
        counted = cost(entry.variant.network)
        ms = {
            name: _rounded(times[index, name])
            for name in names
            if (index, name) in times
        }
        networks.append(Timed(entry.labels, counted.params, counted.madds, ms))
    return Measured(
        machine=describe_machine(THREADS),
        date=datetime.date.today().isoformat(),
        runs=runs,
        backends=tuple(names),
        notes=tuple(notes),
        networks=tuple(networks),
    )


def _load(folder: Path, variant: Variant, backend: str) -> Runtime:
    if BACKENDS[backend] is None:
        return run_graph(*graph_of(variant), backend, THREADS)
    return load_runtime(exported_path(folder, variant, backend), THREADS)


def _turn(runtime: Runtime) -> tuple[Stages, np.ndarray]:
    """Two calls with the same noise."""

    def first(batch: np.ndarray) -> np.ndarray:
        runtime(batch)
        return batch

    shape = runtime.info.input_shape
    batch = np.random.default_rng(0).standard_normal(shape).astype(np.float32)
    return {'first': first, NETWORK: runtime}, batch


def _rounded(times: np.ndarray) -> Summary:
    summary = asdict(Summary.of(times))
    return Summary(**{name: round(value, _DIGITS) for name, value in summary.items()})
