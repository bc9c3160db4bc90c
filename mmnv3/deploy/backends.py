"""The ways to run a model, by the names that the tools take."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Sequence
from dataclasses import replace
from importlib import import_module
from pathlib import Path

import numpy as np
import torch

from mmnv3.deploy.export import FORMATS, check_ending, export_graph, move_files
from mmnv3.deploy.graph import ExportGraph
from mmnv3.deploy.info import SEGMENTATION, ModelInfo
from mmnv3.deploy.runtime import PyTorchRuntime, Runtime
from mmnv3.errors import UserError

# The format of the file that a backend runs; None runs the graph itself.
BACKENDS: dict[str, str | None] = {
    'pytorch': None,
    'compile': None,
    'onnxruntime': 'onnx',
    'openvino': 'openvino',
    'litert': 'litert',
}
PRECISIONS = ('fp32', 'int8')


def check_backend(backend: str, precision: str = 'fp32') -> None:
    """Checks that there is such a backend, and that it has such numbers.

    Raises:
        UserError: When not; says what there is.
    """
    if backend not in BACKENDS:
        raise UserError(
            f'backend {backend!r} is unknown; possible: {", ".join(BACKENDS)}'
        )
    if precision not in PRECISIONS:
        raise UserError(
            f'precision {precision!r} is unknown; possible: {", ".join(PRECISIONS)}'
        )
    if precision != 'fp32' and BACKENDS[backend] is None:
        files = [name for name, kind in BACKENDS.items() if kind]
        raise UserError(
            f'backend {backend!r} has no {precision}; possible: {", ".join(files)}'
        )


def run_graph(
    graph: ExportGraph, info: ModelInfo, backend: str, threads: int | None = None
) -> Runtime:
    """Runs a graph by PyTorch, as it is or compiled.

    Args:
        graph: What :func:`mmnv3.deploy.graph.build_graph` returns.
        info: Its description.
        backend: ``'pytorch'`` or ``'compile'``.
        threads: Threads of one call; PyTorch's own number for None.
    """
    if backend == 'compile':
        # Freezing lays the weights out for the kernels once for all. Of a second
        # model PyTorch would make a graph for any size, in minutes.
        compiled = torch.compile(graph, dynamic=False, options={'freezing': True})
        return PyTorchRuntime(compiled, info, threads)
    # Only a segmenter's eager graph asks for nothing but the picture's own size.
    return PyTorchRuntime(graph, info, threads, any_size=graph.task == SEGMENTATION)


def write_file(
    graph: ExportGraph,
    info: ModelInfo,
    out: Path,
    format_name: str,
    precision: str = 'fp32',
    calibration: Callable[[], Sequence[np.ndarray]] = tuple,
) -> None:
    """Exports a graph, and quantises the file where it shall be.

    Args:
        graph: What :func:`mmnv3.deploy.graph.build_graph` returns.
        info: Its description.
        out: File to write; it appears whole or not at all.
        format_name: One of :data:`mmnv3.deploy.export.FORMATS`.
        precision: ``'fp32'`` or ``'int8'``.
        calibration: Gives normalised batches, float32 of ``info.input_shape``, whose
            values the quantisers look at.

    Raises:
        UserError: When there is nothing to calibrate on, or a package is missing.
    """
    if precision == 'fp32':
        export_graph(graph, info, out, format_name)
        return
    check_ending(out, format_name)
    quantizer = import_module(f'mmnv3.deploy.quantization.{format_name}')
    out.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=out.parent, prefix='.export-') as folder:
        suffixes = FORMATS[format_name].suffixes
        source, partial = (
            Path(folder) / f'{name}{suffixes[0]}' for name in ('fp32', 'int8')
        )
        export_graph(graph, replace(info, precision='int8'), source, format_name)
        quantizer.quantize(source, partial, calibration())
        move_files(partial, out, suffixes)


def file_suffix(backend: str) -> str:
    """The ending of the files that a backend runs."""
    return FORMATS[BACKENDS[backend]].suffixes[0]
