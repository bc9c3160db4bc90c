"""Exports and times what a study needs, but for what was done before."""

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

from mmnv3.benchmark.clock import Summary, time_stages
from mmnv3.benchmark.machine import describe_machine
from mmnv3.benchmark.timed_model import compiler_error
from mmnv3.deploy.calibration import noise_batches
from mmnv3.deploy.export import write_file
from mmnv3.deploy.graph import PlainGraph, plain_info
from mmnv3.deploy.info import ModelInfo
from mmnv3.deploy.runtime import (
    BACKENDS,
    Runtime,
    check_backend,
    file_suffix,
    load_runtime,
    run_graph,
)
from mmnv3.errors import UserError
from mmnv3.optional import require
from studies.latency.results import Measured, Timed, read_results, write_results
from studies.latency.studies import Study
from studies.latency.variants import Variant
from studies.networks import cost

# Compiling takes a quarter of a minute for each network, at every run of the tool.
DEFAULT_BACKENDS = ('pytorch', 'onnxruntime', 'openvino', 'litert')
DEFAULT_RUNS = 60

_THREADS = 1
_WARMUP = 3
_LEAST_RUNS = 2
# Digits of milliseconds that are kept.
_DIGITS = 4

# What a backend imports to export and to run, and the extra that brings it.
_NEEDS = {
    'onnxruntime': (('onnx', 'onnxscript', 'onnxruntime'), 'onnx'),
    'openvino': (('openvino', 'nncf'), 'openvino'),
    'litert': (('litert_torch', 'ai_edge_litert', 'ai_edge_quantizer'), 'litert'),
}

Item = TypeVar('Item')


def measure_studies(
    studies: Sequence[Study],
    backends: Sequence[str],
    folder: Path,
    path: Path,
    runs: int,
    fresh: bool = False,
    only_export: bool = False,
) -> dict[str, Measured]:
    """Measures studies, and keeps each of them as soon as it is done.

    Args:
        studies: What to measure.
        backends: Names of :data:`mmnv3.deploy.runtime.BACKENDS`; those that are not
            installed are left out.
        folder: Where exported files are kept.
        path: The JSON of the results, which is read and written.
        runs: Turns of each network.
        fresh: Whether to measure again what was measured.
        only_export: Whether to stop before measuring.

    Returns:
        All results of the file.

    Raises:
        UserError: When a backend is unknown, none is installed, or a file cannot be
            read or written.
    """
    names, notes = installed_backends(backends)
    results = read_results(path) if path.is_file() else {}
    if not fresh:
        machine = describe_machine(_THREADS)
        studies = [
            study
            for study in studies
            if not _is_done(study, names, machine, results.get(study.key))
        ]
    files = dict.fromkeys(
        (variant, backend)
        for study in studies
        for _, variant, backend in _pairs(study, names)
        if BACKENDS[backend]
    )
    for variant, backend in _show_progress(files, 'exporting'):
        _export_variant(folder, variant, backend)
    if not only_export:
        for study in _show_progress(studies, 'measuring'):
            results[study.key] = measure_study(study, names, folder, runs, notes)
            write_results(results, path)
    return results


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
    pairs = list(_pairs(study, backends))
    names = list(dict.fromkeys(backend for *_, backend in pairs))
    runs = max(_LEAST_RUNS, round(runs * study.share))
    summaries: dict[tuple[int, str], Summary] = {}
    for group in [[name] for name in names] if study.apart else [names]:
        models = {
            (index, backend): _two_calls(_load(folder, variant, backend))
            for index, variant, backend in pairs
            if backend in group
        }
        timed = time_stages(list(models.values()), runs=runs, warm_up=_WARMUP)
        for pair, stages in zip(models, timed):
            summaries[pair] = _summarise(stages['second'])
    networks = []
    for index, entry in enumerate(study.entries):
        counts = cost(entry.variant.network)
        ms = {name: summaries[index, name] for name in names}
        networks.append(Timed(entry.labels, counts.params, counts.madds, ms))
    return Measured(
        machine=describe_machine(_THREADS),
        date=datetime.date.today().isoformat(),
        runs=runs,
        backends=tuple(names),
        notes=tuple(notes),
        networks=tuple(networks),
    )


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
                _check_compiler()
            found.append(name)
        except UserError as error:
            notes.append(f'{name} is left out: {error}')
    if not found:
        raise UserError(f'there is nothing to measure with; {"; ".join(notes)}')
    return found, notes


def _check_compiler() -> None:
    """Compiles next to nothing.

    Raises:
        UserError: When that fails.
    """
    try:
        torch.compile(torch.nn.Hardswish())(torch.zeros(1))
    except Exception as error:  # Of many kinds, which PyTorch does not document.
        raise compiler_error(error) from None


def _is_done(
    study: Study, backends: Sequence[str], machine: dict, measured: Measured | None
) -> bool:
    """Whether a study was measured.

    That is: with the rows that it has now, by all of these backends, on the same
    machine with the same versions of packages.
    """
    if not measured or not measured.fits(study) or measured.machine != machine:
        return False
    return {name for *_, name in _pairs(study, backends)} <= set(measured.backends)


def _pairs(study: Study, backends: Sequence[str]) -> Iterator[tuple[int, Variant, str]]:
    """What a study times: an entry's index, its variant, and a backend.

    A backend without 8-bit files is left out of a study that has some.
    """
    has_8_bits = any(entry.variant.precision == 'int8' for entry in study.entries)
    for index, entry in enumerate(study.entries):
        for backend in backends:
            if BACKENDS[backend] or not has_8_bits:
                yield index, entry.variant, backend


def _exported_path(folder: Path, variant: Variant, backend: str) -> Path:
    """Where a variant's file stands: another package's version, another name."""
    packages = 'torch', *_NEEDS[backend][0]
    versions = ' '.join(map(_version, packages))
    return folder / f'{variant.digest(versions)}{file_suffix(backend)}'


def _version(package: str) -> str:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return ''


def _export_variant(folder: Path, variant: Variant, backend: str) -> None:
    """Writes a variant's file where there is none yet.

    Raises:
        UserError: When the folder cannot be written.
    """
    path = _exported_path(folder, variant, backend)
    if path.is_file():
        return
    graph, info = _build(variant)
    noise = partial(noise_batches, info)
    with warnings.catch_warnings():
        # The exporters talk to their developers.
        warnings.simplefilter('ignore')
        try:
            write_file(graph, info, path, BACKENDS[backend], variant.precision, noise)
        except OSError as error:
            raise UserError(f'{folder} cannot be written: {error.strerror}') from error


def _build(variant: Variant) -> tuple[PlainGraph, ModelInfo]:
    with warnings.catch_warnings():
        # The toolboxes tell of their own plans.
        warnings.simplefilter('ignore')
        graph = variant.build()
    return graph, plain_info(graph, variant.precision)


def _load(folder: Path, variant: Variant, backend: str) -> Runtime:
    if BACKENDS[backend] is None:
        return run_graph(*_build(variant), backend, _THREADS)
    return load_runtime(_exported_path(folder, variant, backend), _THREADS)


def _two_calls(runtime: Runtime) -> tuple[dict, np.ndarray]:
    """The stages of a turn, two calls with the same noise, and that noise."""

    def first(batch: np.ndarray) -> np.ndarray:
        runtime(batch)
        return batch

    shape = runtime.info.input_shape
    batch = np.random.default_rng(0).standard_normal(shape).astype(np.float32)
    return {'first': first, 'second': runtime}, batch


def _summarise(times_ms: np.ndarray) -> Summary:
    summary = asdict(Summary.of(times_ms))
    return Summary(**{name: round(value, _DIGITS) for name, value in summary.items()})


def _show_progress(items: Collection[Item], what: str) -> Iterable[Item]:
    """Shows a bar on a terminal, and nothing in a log."""
    console = Console()
    quiet = not (items and console.is_terminal)
    return track(items, what, console=console, transient=True, disable=quiet)
