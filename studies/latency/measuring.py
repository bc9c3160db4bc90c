"""Exports the networks of studies, times them, and keeps what is done."""

from __future__ import annotations

import datetime
import warnings
from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import asdict
from functools import partial
from importlib import metadata
from importlib.util import find_spec
from pathlib import Path
from typing import TypeVar

import numpy as np
import torch
from rich.console import Console
from rich.progress import track

from mmnv3.benchmark.clock import Stages, Summary, time_stages
from mmnv3.benchmark.machine import describe_machine
from mmnv3.benchmark.timed_model import compiler_error
from mmnv3.deploy.calibration import noise_batches
from mmnv3.deploy.export import write_file
from mmnv3.deploy.graph import PlainGraph, plain_info
from mmnv3.deploy.info import ModelInfo
from mmnv3.deploy.optional import require
from mmnv3.deploy.runtime import (
    BACKENDS,
    Runtime,
    check_backend,
    file_suffix,
    load_runtime,
    run_graph,
)
from mmnv3.errors import UserError
from studies.latency.results import Measured, Results, Timed
from studies.latency.studies import STUDIES
from studies.latency.study import Study, Variant
from studies.paper.networks import cost

Item = TypeVar('Item')

# Compiling takes a quarter of a minute for each network, at every run of the tool.
USUAL_BACKENDS = ('pytorch', 'onnxruntime', 'openvino', 'litert')
RUNS = 60
THREADS = 1
_WARM_UP = 3
_LEAST_RUNS = 2
# Digits of milliseconds that are kept.
_DIGITS = 4
# The call of a turn that counts.
_SECOND = 'second'
# What a backend imports to export and to run, and the extra that brings it.
_NEEDS = {
    'onnxruntime': (('onnx', 'onnxscript', 'onnxruntime'), 'onnx'),
    'openvino': (('openvino', 'nncf'), 'openvino'),
    'litert': (('litert_torch', 'ai_edge_litert', 'ai_edge_quantizer'), 'litert'),
}


def find_studies(keys: Sequence[str]) -> list[Study]:
    """Studies by their keys; all for none.

    Raises:
        UserError: For an unknown key.
    """
    unknown = [key for key in keys if key not in STUDIES]
    if unknown:
        raise UserError(
            f'--study {unknown[0]} is unknown; possible: {", ".join(STUDIES)}'
        )
    return [STUDIES[key] for key in keys or STUDIES]


def pending_studies(
    studies: Sequence[Study], backends: Sequence[str], path: Path
) -> list[Study]:
    """Those of some studies that have to be measured yet.

    A study was measured if it had the same rows, by all of these backends, on the same
    machine with the same versions of packages.

    Args:
        studies: What shall be measured.
        backends: By what; those that are not installed do not matter.
        path: The JSON of the results; there may be none.

    Raises:
        UserError: When no backend is installed, or the file cannot be read.
    """
    names, _ = installed_backends(backends)
    results = Results.read(path) if path.is_file() else Results()
    machine = describe_machine(THREADS)

    def is_done(study: Study) -> bool:
        measured = results.studies.get(study.key)
        if not measured or not measured.fits(study) or measured.machine != machine:
            return False
        return {name for *_, name in pairs(study, names)} <= set(measured.backends)

    return [study for study in studies if not is_done(study)]


def prepare_studies(
    studies: Sequence[Study],
    backends: Sequence[str],
    folder: Path,
    console: Console,
) -> None:
    """Exports what was not exported yet.

    Args:
        studies: What will be measured.
        backends: By what.
        folder: Where the files are kept.
        console: Where progress is shown.

    Raises:
        UserError: When no backend is installed, or the folder cannot be written.
    """
    names, _ = installed_backends(backends)
    every = dict.fromkeys(
        (variant, backend)
        for study in studies
        for _, variant, backend in pairs(study, names)
    )
    for variant, backend in _track(every, 'exporting', console):
        export_variant(folder, variant, backend)


def measure_studies(
    studies: Sequence[Study],
    backends: Sequence[str],
    folder: Path,
    path: Path,
    runs: int,
    console: Console,
) -> Results:
    """Measures studies, and keeps each of them as soon as it is done.

    Args:
        studies: What to measure; its files were exported.
        backends: By what.
        folder: Where the exported files are.
        path: The JSON of the results, which is read and written.
        runs: Turns of each network.
        console: Where progress is shown.

    Returns:
        All results of the file.

    Raises:
        UserError: When no backend is installed, or a file cannot be read or written.
    """
    names, notes = installed_backends(backends)
    results = Results.read(path) if path.is_file() else Results()
    for study in _track(studies, 'measuring', console):
        results.studies[study.key] = measure_study(study, names, folder, runs, notes)
        results.write(path)
    return results


def _track(items: Collection[Item], what: str, console: Console) -> Iterable[Item]:
    """Shows a bar on a terminal, and nothing in a log."""
    quiet = not (items and console.is_terminal)
    return track(items, what, console=console, transient=True, disable=quiet)


def installed_backends(names: Sequence[str]) -> tuple[list[str], list[str]]:
    """Tells the backends that are there from those that are not.

    Args:
        names: Of :data:`mmnv3.deploy.runtime.BACKENDS`.

    Returns:
        The installed ones, and a line about each of the others.

    Raises:
        UserError: When a name is unknown, or none is installed.
    """
    found, notes = [], []
    for name in names:
        check_backend(name)
        packages, extra = _NEEDS.get(name, ((), ''))
        try:
            for package in packages:
                # Exporters change PyTorch as they are imported; timing does without.
                if find_spec(package) is None:
                    require(package, extra)
            if name == 'compile':
                check_compiler()
            found.append(name)
        except UserError as error:
            notes.append(f'{name} is left out: {error}')
    if not found:
        raise UserError(f'there is nothing to measure with; {"; ".join(notes)}')
    return found, notes


def check_compiler() -> None:
    """Compiles next to nothing.

    Raises:
        UserError: When that fails.
    """
    try:
        torch.compile(torch.nn.Hardswish())(torch.zeros(1))
    except Exception as error:  # Of many kinds, which PyTorch does not document.
        raise compiler_error(error) from None


def pairs(study: Study, backends: Sequence[str]) -> Iterator[tuple[int, Variant, str]]:
    """What a study times: an entry's index, its variant, and a backend.

    A backend without 8-bit files is left out of a study that has some.
    """
    eight = any(entry.variant.precision == 'int8' for entry in study.entries)
    for index, entry in enumerate(study.entries):
        for backend in backends:
            if BACKENDS[backend] or not eight:
                yield index, entry.variant, backend


def exported_path(folder: Path, variant: Variant, backend: str) -> Path:
    """Where a variant's file stands: another package's version, another name."""
    packages = _NEEDS[backend][0]
    versions = ' '.join(map(_version, ('torch', *packages)))
    return folder / f'{variant.digest(versions)}{file_suffix(backend)}'


def export_variant(folder: Path, variant: Variant, backend: str) -> None:
    """Writes a variant's file where there is none yet.

    Args:
        folder: Where it is kept.
        variant: What to export.
        backend: What will run it; nothing is written for PyTorch's.

    Raises:
        UserError: When the folder cannot be written.
    """
    if BACKENDS[backend] is None:
        return
    path = exported_path(folder, variant, backend)
    if path.is_file():
        return
    with warnings.catch_warnings():
        # The exporters talk to their developers.
        warnings.simplefilter('ignore')
        graph, info = graph_of(variant)
        try:
            write_file(
                graph,
                info,
                path,
                BACKENDS[backend],
                variant.precision,
                partial(noise_batches, info),
            )
        except OSError as error:
            raise UserError(f'{folder} cannot be written: {error.strerror}') from error


def graph_of(variant: Variant) -> tuple[PlainGraph, ModelInfo]:
    """Builds a variant's graph and its description."""
    with warnings.catch_warnings():
        # The toolboxes tell of their own plans.
        warnings.simplefilter('ignore')
        graph = variant.build()
    return graph, plain_info(graph, variant.precision)


def _version(package: str) -> str:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return ''


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
    times_ms: dict[tuple[int, str], np.ndarray] = {}
    runs = max(_LEAST_RUNS, round(runs * study.share))
    for group in [[name] for name in names] if study.apart else [names]:
        models = {
            (index, backend): _turn(_load(folder, variant, backend))
            for index, variant, backend in every
            if backend in group
        }
        found = time_stages(list(models.values()), runs=runs, warm_up=_WARM_UP)
        for name, stages_ms in zip(models, found):
            times_ms[name] = stages_ms[_SECOND]
    networks = []
    for index, entry in enumerate(study.entries):
        found = cost(entry.variant.network)
        ms = {
            name: _rounded(times_ms[index, name])
            for name in names
            if (index, name) in times_ms
        }
        networks.append(Timed(entry.labels, found.params, found.madds, ms))
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

    (batch,) = noise_batches(runtime.info, count=1)
    return {'first': first, _SECOND: runtime}, batch


def _rounded(times_ms: np.ndarray) -> Summary:
    summary = asdict(Summary.of(times_ms))
    return Summary(**{name: round(value, _DIGITS) for name, value in summary.items()})
