"""Subjects from what :mod:`mmnv3.deploy` makes of a config, one for each backend."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from mmnv3.benchmark.costs import check_device, count_model, tensor_bytes
from mmnv3.benchmark.subject import (
    NETWORK,
    POST,
    PRE,
    Request,
    Stages,
    Subject,
    run_stages,
)
from mmnv3.deploy.calibration import noise_batches, read_batches
from mmnv3.deploy.export import FORMATS, write_file
from mmnv3.deploy.graph import ExportGraph
from mmnv3.deploy.info import ModelInfo
from mmnv3.deploy.pipeline import prepare_picture
from mmnv3.deploy.results import finish
from mmnv3.deploy.runtime import (
    BACKENDS,
    PyTorchRuntime,
    Runtime,
    check_backend,
    file_suffix,
    load_runtime,
    run_graph,
)
from mmnv3.errors import UserError


def graph_subject(
    model: nn.Module,
    graph: ExportGraph,
    info: ModelInfo,
    request: Request,
    backend: str,
    precision: str,
    folder: Path,
) -> Subject:
    """Makes a graph ready for one backend.

    Args:
        model: The model, for counting.
        graph: What :func:`mmnv3.deploy.graph.build_graph` made of it.
        info: The graph's description.
        request: What was asked for.
        backend: One of :data:`mmnv3.deploy.runtime.BACKENDS`.
        precision: ``'fp32'`` or ``'int8'``.
        folder: Where the exported files go.

    Raises:
        UserError: When the backend is not installed or cannot do this.
    """
    check_backend(backend, precision)
    check_device(backend, request.device)
    pictures = request.pictures()
    child: dict[str, Any] = {'request': asdict(request), 'backend': backend}
    if BACKENDS[backend] is None:
        load = partial(load_graph, graph, info, request, backend)
        file_bytes = tensor_bytes(graph)
    else:
        path = folder / f'{backend}-{precision}{file_suffix(backend)}'
        _write(graph, info, request, path, BACKENDS[backend], precision)
        load = partial(load_runtime, path, request.threads)
        file_bytes = sum(
            path.with_suffix(suffix).stat().st_size
            for suffix in FORMATS[BACKENDS[backend]].suffixes
        )
        child['path'] = str(path)
    begin = time.perf_counter()
    runtime = load()
    stages = runtime_stages(runtime)
    with _compiler_errors(backend):
        run_stages(stages, pictures)
    load_seconds = time.perf_counter() - begin
    cost = count_model(model, graph.size)
    return Subject(
        model=request.model,
        backend=backend,
        precision=precision,
        size=graph.size,
        stages=stages,
        pictures=pictures,
        load_seconds=load_seconds,
        file_bytes=file_bytes,
        params=cost.params,
        madds=cost.madds or None,
        child=child,
    )


def runtime_stages(runtime: Runtime) -> Stages:
    """The stages of a loaded model.

    They are what a user of :mod:`mmnv3.deploy` runs: pictures in memory are resized and
    normalised; the network runs, decoding of boxes, probabilities and the resizing of
    maps included, since they are part of the graph; then boxes are suppressed, or the
    best class is chosen.
    """
    sizes: list[tuple[int, int]] = []

    def pre(pictures: Sequence[np.ndarray]) -> np.ndarray:
        sizes[:] = [picture.shape[1::-1] for picture in pictures]
        prepared = [prepare_picture(picture, runtime.info) for picture in pictures]
        return prepared[0][None] if len(prepared) == 1 else np.stack(prepared)

    return {
        PRE: pre,
        NETWORK: runtime,
        POST: lambda outputs: finish(outputs, runtime.info, sizes),
    }


def load_graph(
    graph: ExportGraph, info: ModelInfo, request: Request, backend: str
) -> Runtime:
    """Runs a graph by PyTorch, on the device that is asked for."""
    if request.device == 'cpu':
        return run_graph(graph, info, backend, request.threads)
    module = graph.to(request.device)
    if backend == 'compile':
        module = torch.compile(module, options={'freezing': True})
    return PyTorchRuntime(_OnDevice(module, request.device), info, request.threads)


class _OnDevice:
    """Copies to a device and back, which also waits for it."""

    def __init__(self, module: Callable, device: str) -> None:
        self.module = module
        self.device = device

    def __call__(self, batch: Tensor) -> tuple[Tensor, ...]:
        found = self.module(batch.to(self.device))
        found = (found,) if isinstance(found, Tensor) else found
        return tuple(output.cpu() for output in found)


def _write(
    graph: ExportGraph,
    info: ModelInfo,
    request: Request,
    path: Path,
    format_name: str,
    precision: str,
) -> None:
    batches = (
        partial(read_batches, request.calibration, info)
        if request.calibration
        else partial(noise_batches, info)
    )
    write_file(graph, info, path, format_name, precision, batches)


class _compiler_errors:
    """Turns what `torch.compile` raises without a compiler into one line."""

    def __init__(self, backend: str) -> None:
        self.backend = backend

    def __enter__(self) -> None: ...

    def __exit__(self, kind: type | None, error: Exception | None, _: object) -> None:
        if self.backend == 'compile' and isinstance(error, Exception):
            reason = str(error).strip().partition('\n')[0]
            raise UserError(
                f'torch.compile failed ({reason}); it needs a C++ compiler, as of '
                'apt-get install g++, or leave this backend out'
            ) from None


def combinations(
    backends: Sequence[str], precisions: Sequence[str], lenient: bool
) -> Iterator[tuple[str, str]]:
    """Pairs of backend and precision; impossible ones are left out of ``'all'``."""
    for backend in backends:
        for precision in precisions:
            if lenient and precision != 'fp32' and BACKENDS[backend] is None:
                continue
            yield backend, precision
