"""How long a layer takes inside a network, and how long a network takes."""

from __future__ import annotations

import math
import tempfile
import time
from collections.abc import Callable
from dataclasses import replace
from functools import lru_cache, partial
from pathlib import Path
from typing import Any

import numpy as np

from mmnv3.deploy.export import write_file
from mmnv3.deploy.graph import ExportGraph, PlainGraph
from mmnv3.deploy.info import PLAIN, RT_INFO, ModelInfo
from mmnv3.deploy.optional import require
from mmnv3.deploy.runtime import (
    BACKENDS,
    Runtime,
    check_backend,
    file_suffix,
    load_runtime,
    run_graph,
)
from mmnv3.search.latency.graphs import FEW, LayerGraph, bare_layer, input_shape
from mmnv3.search.latency.layers import LayerShape
from mmnv3.search.latency.onnx_graphs import onnx_model

# Other programs can only make a run longer, so that fast runs are the true ones; the
# very fastest of many would depend on how many there are.
QUANTILE = 0.2
RUNS = 20
NETWORK_RUNS = 100
# Least time that networks take turns for: a processor that others share keeps a pace
# for seconds.
NETWORK_SECONDS = 20.0
# Calls of a network's turn.
_TURN = 10
WARMUP = 3
# Copies of a layer: enough that they outweigh the noise, but no more numbers in their
# weights than a network has, which fit into the cache that cores share.
COPIES = 8
_FEWEST_COPIES = 2
_MOST_WEIGHTS = 1 << 21
_INFO = ModelInfo(PLAIN, (), (1, FEW, 1, 1), (), (), 'rgb')


def time_layer(
    layer: LayerShape, backend: str, threads: int = 1, runs: int = RUNS
) -> float:
    """Times a layer as part of a network.

    Args:
        layer: The layer.
        backend: One of :data:`mmnv3.deploy.runtime.BACKENDS`.
        threads: Threads of one call.
        runs: Measured calls.

    Returns:
        Microseconds of one call of the layer.

    Raises:
        UserError: When the backend is unknown or not installed.
    """
    fitting = _MOST_WEIGHTS // max(1, layer.madds // math.prod(layer.out_size))
    copies = min(COPIES, max(_FEWEST_COPIES, fitting))
    full = load_layer(layer, copies, False, backend, threads)
    bare = _load_bare(bare_layer(layer), copies, backend, threads)
    shape = input_shape(layer)
    batch = np.random.default_rng(0).standard_normal(shape, np.float32)
    with_copies, without = time_turns(
        [partial(full, batch), partial(bare, batch)], runs
    )
    return max(0.0, with_copies - without) / copies


def time_turns(calls: list[Callable[[], object]], runs: int) -> list[float]:
    """Times calls that take turns, so that the processor's pace meets all alike.

    Args:
        calls: What is called.
        runs: Measured calls of each.

    Returns:
        Microseconds of each: the quantile :data:`QUANTILE` of its calls.
    """
    times = np.empty((WARMUP + runs, len(calls)))
    for row in times:
        for index, call in enumerate(calls):
            begin = time.perf_counter()
            call()
            row[index] = time.perf_counter() - begin
    return [1e6 * float(us) for us in np.quantile(times[WARMUP:], QUANTILE, axis=0)]


def load_layer(
    layer: LayerShape, copies: int, bare: bool, backend: str, threads: int
) -> Runtime:
    """Gives copies of a layer, or what is around them, to a backend."""
    check_backend(backend)
    if BACKENDS[backend] not in _FROM_ONNX:
        graph = PlainGraph(LayerGraph(layer, copies, bare), input_shape(layer))
        return load_network(graph, backend, threads)
    info = replace(_INFO, input_shape=input_shape(layer))
    model = onnx_model(layer, copies, bare, info)
    with tempfile.TemporaryDirectory(prefix='mmnv3-layer-') as folder:
        path = Path(folder) / f'layer{file_suffix(backend)}'
        _FROM_ONNX[BACKENDS[backend]](model, path, info.to_strings())
        return load_runtime(path, threads)


def load_network(
    graph: ExportGraph | PlainGraph, backend: str, threads: int = 1
) -> Runtime:
    """Gives a network to a backend.

    Args:
        graph: What :func:`mmnv3.search.latency.tracing.as_graph` returns.
        backend: One of :data:`mmnv3.deploy.runtime.BACKENDS`.
        threads: Threads of one call.

    Raises:
        UserError: When the backend is unknown or not installed.
    """
    check_backend(backend)
    shape = tuple(graph.example().shape)
    info = replace(_INFO, task=graph.task, input_shape=shape)
    if BACKENDS[backend] is None:
        return run_graph(graph, info, backend, threads)
    with tempfile.TemporaryDirectory(prefix='mmnv3-network-') as folder:
        path = Path(folder) / f'network{file_suffix(backend)}'
        write_file(graph, info, path, BACKENDS[backend])
        return load_runtime(path, threads)


def time_networks(networks: list[Runtime], runs: int | None = None) -> list[float]:
    """Times networks, which take turns of several calls each.

    In turns, so that the processor's pace meets all alike; of several calls, since the
    weights of many networks do not fit into its cache together.

    Args:
        networks: What :func:`load_network` returns.
        runs: Measured calls of each; None for at least :data:`NETWORK_RUNS`, and for as
            many as :data:`NETWORK_SECONDS` allow.

    Returns:
        Microseconds of each.
    """
    times: list[list[float]] = [[] for _ in networks]
    end = time.monotonic() + (NETWORK_SECONDS if runs is None else 0)
    while len(times[-1]) < (runs or NETWORK_RUNS) or time.monotonic() < end:
        for network, found in zip(networks, times):
            shape = network.info.input_shape
            batch = np.random.default_rng(0).standard_normal(shape, np.float32)
            for index in range(WARMUP + _TURN):
                begin = time.perf_counter()
                network(batch)
                if index >= WARMUP:
                    found.append(time.perf_counter() - begin)
    return [1e6 * float(np.quantile(found, QUANTILE)) for found in times]


@lru_cache(maxsize=64)
def _load_bare(layer: LayerShape, copies: int, backend: str, threads: int) -> Runtime:
    return load_layer(layer, copies, True, backend, threads)


def _write_onnx(model: Any, path: Path, strings: dict[str, str]) -> None:
    path.write_bytes(model.SerializeToString())


def _write_openvino(model: Any, path: Path, strings: dict[str, str]) -> None:
    openvino = require('openvino', 'openvino')
    read = openvino.Core().read_model(model.SerializeToString())
    for name, value in strings.items():
        read.set_rt_info(value, [RT_INFO, name])
    openvino.save_model(read, path, compress_to_fp16=False)


_FROM_ONNX = {'onnx': _write_onnx, 'openvino': _write_openvino}
