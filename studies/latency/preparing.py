"""Exports what is timed, once, into a folder that is kept."""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Sequence
from functools import partial
from importlib import metadata
from importlib.util import find_spec
from pathlib import Path

import torch

from mmnv3.deploy.calibration import noise_batches
from mmnv3.deploy.export import write_file
from mmnv3.deploy.graph import PlainGraph, plain_info
from mmnv3.deploy.info import ModelInfo
from mmnv3.deploy.optional import require
from mmnv3.deploy.runtime import BACKENDS, check_backend, file_suffix
from mmnv3.errors import UserError
from studies.latency.study import Study
from studies.latency.variant import Variant

# What a backend imports to export and to run, and the extra that brings it.
_NEEDS = {
    'onnxruntime': (('onnx', 'onnxscript', 'onnxruntime'), 'onnx'),
    'openvino': (('openvino', 'nncf'), 'openvino'),
    'litert': (('litert_torch', 'ai_edge_litert', 'ai_edge_quantizer'), 'litert'),
}


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
        reason = str(error).strip().partition('\n')[0]
        raise UserError(
            f'torch.compile failed ({reason}); it needs a C++ compiler, as of apt-get '
            'install g++'
        ) from None


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
