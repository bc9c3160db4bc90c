"""Fills a latency table with times of layers and of whole networks.

It goes on where it was interrupted.
"""

from __future__ import annotations

import math
import tempfile
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from functools import lru_cache, partial
from pathlib import Path
from typing import Any, cast

import numpy as np
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TimeRemainingColumn
from torch import nn

from mmnv3.arch.layers import Layer
from mmnv3.benchmark.clock import fast_us, time_turns
from mmnv3.deploy.export import write_file
from mmnv3.deploy.graph import ExportGraph, PlainGraph
from mmnv3.deploy.info import PLAIN, RT_INFO, ModelInfo
from mmnv3.deploy.quantization import reduce_precision
from mmnv3.deploy.runtime import (
    BACKENDS,
    Runtime,
    file_suffix,
    load_runtime,
    run_graph,
)
from mmnv3.errors import UserError
from mmnv3.files import only_process
from mmnv3.optional import require
from mmnv3.search.latency.config_models import ConfigModel, random_variants
from mmnv3.search.latency.grid import search_grid
from mmnv3.search.latency.probes import (
    FEW,
    LayerGraph,
    bare_layer,
    input_shape,
    onnx_model,
)
from mmnv3.search.latency.table import (
    Execution,
    LatencyTable,
    NetworkTime,
    digest_network,
)
from mmnv3.search.latency.tracing import as_graph, trace
from mmnv3.size import Size

RUNS = 20
NETWORK_RUNS = 100
# Two that measure on one machine would slow each other down besides.
BUSY = 'wait for its end, or name another table'
# Least time that networks take turns for: a processor that others share keeps a pace
# for seconds.
NETWORK_SECONDS = 20.0
# Calls of a network's turn.
_TURN = 10
# Copies of a layer: enough that they outweigh the noise, but no more numbers in their
# weights than a network has, which fit into the cache that cores share.
COPIES = 8
_FEWEST_COPIES = 2
_MOST_WEIGHTS = 1 << 21
_INFO = ModelInfo(PLAIN, (), (1, FEW, 1, 1), (), (), 'rgb')
# What a file for pictures has to say besides, and what takes no time.
_ABOUT_PICTURES: dict[str, Any] = dict(
    mean=(0, 0, 0),
    std=(1, 1, 1),
    score_threshold=0,
    iou_threshold=1,
    max_detections=1,
    max_per_class=-1,
)
# The least that a table's file tells from nothing.
_LEAST_US = 1e-3
# Layers that are measured between two times that the table is saved.
_SAVE_EVERY = 10
# Networks that tell how layers add up, and their random sequence, which is none that
# anyone checks a table by.
_VARIANTS, _VARIANTS_SEED = 8, 1_000_003


def measure_configs(
    configs: Sequence[str],
    execution: Execution,
    out: Path,
    size: Size | None = None,
    runs: int | None = None,
    grid: bool = True,
) -> LatencyTable:
    """Measures the layers of configs, and those that a search may make of them.

    Args:
        configs: Paths of configs.
        execution: How they are run.
        out: Table to write, or to go on with.
        size: Pixels of the picture; each config's own for None.
        runs: Measured calls of each layer.
        grid: Whether layers of other widths are measured as well.

    Raises:
        UserError: For what does not exist, does not fit, or is not installed.
    """
    check_runs(runs)
    with only_process(out, BUSY):
        table = open_table(out, execution)
        found = [ConfigModel.read(config, size) for config in configs]
        measured = measure_models(table, found, out, runs, grid)
    print(f'{out}: {len(table.layers)} layers, {measured} of them measured now')
    return table


def measure_models(
    table: LatencyTable,
    found: Sequence[ConfigModel],
    out: Path,
    runs: int | None = None,
    grid: bool = True,
) -> int:
    """Measures what a table lacks for models, and shows how far it is.

    Args:
        table: The table, which gets it.
        found: The models.
        out: The table's file, which gets it too.
        runs: Measured calls of each layer.
        grid: Whether layers of other widths are measured as well.

    Returns:
        How many layers were measured.
    """
    layers = [layer for each in found for layer in trace(each.model, each.size).layers]
    layers = search_grid(layers) if grid else layers
    label = f'layers by {table.execution.backend}'
    with counting_bar(Console(stderr=True), label) as show:
        measured = measure_layers(table, layers, out, runs or RUNS, show)
    for each in found:
        # Random ones have layers of any width, which only a grid prices.
        others = random_variants(each, _VARIANTS, _VARIANTS_SEED) if grid else []
        measure_networks(table, [each.model, *others], each.size, out, runs)
    return measured


@contextmanager
def counting_bar(console: Console, label: str) -> Iterator[Callable[[int, int], None]]:
    """A bar of so many of so many and the time left, which goes when all is done.

    Args:
        console: Where to draw it.
        label: What is counted.

    Yields:
        What is told how many are done, and of how many.
    """
    columns = '{task.description}', BarColumn(), MofNCompleteColumn()
    with Progress(*columns, TimeRemainingColumn(), console=console) as bar:
        task = bar.add_task(label, total=None)
        yield lambda done, total: bar.update(task, completed=done, total=total)
        bar.update(task, visible=False)


def search_table(named: Path | None, execution: Execution) -> tuple[LatencyTable, Path]:
    """The prices that a search goes by.

    Args:
        named: A table's file; None for this machine's own, which may still be empty.
        execution: How this machine's own runs networks.

    Returns:
        The table and its file.

    Raises:
        UserError: When the named one is missing or damaged, or the backend is not
            installed.
    """
    if named:
        return LatencyTable.load(named), named
    path = LatencyTable.new(execution).kept_path()
    path.parent.mkdir(parents=True, exist_ok=True)
    return open_table(path, execution), path


def check_runs(runs: int | None) -> None:
    """Checks a number of measured calls.

    Raises:
        UserError: When it is not positive.
    """
    if runs is not None and runs < 1:
        raise UserError(f'--runs {runs} must be a positive number')


def open_table(path: Path, execution: Execution) -> LatencyTable:
    """The table of a file to go on with, or a new one.

    Raises:
        UserError: When the file's table is of another execution or machine, which would
            be mixed.
    """
    new = LatencyTable.new(execution)
    if not path.exists():
        return new
    table = LatencyTable.load(path)
    if table.execution != execution:
        raise UserError(
            f'{path} is of {table.execution}, not of {execution}; name another file by '
            '--out'
        )
    if not table.is_of(new.machine):
        raise UserError(
            f'{path} is of another machine and would be mixed with this one; name '
            'another file by --out'
        )
    return table


def measure_layers(
    table: LatencyTable,
    layers: Iterable[Layer],
    path: Path,
    runs: int = RUNS,
    advance: Callable[[int, int], None] = lambda done, total: None,
) -> int:
    """Measures the layers that a table lacks.

    Args:
        table: The table, which gets them.
        layers: Any layers.
        path: File that the table is saved to, every few layers and when interrupted.
        runs: Measured calls of each.
        advance: Called with how many are done, of how many.

    Returns:
        How many were measured.

    Raises:
        UserError: When the backend is not installed; what was measured stays.
    """
    missing = [layer for layer in dict.fromkeys(layers) if layer not in table.layers]
    # Layers that share what is around them follow each other; see `_load_bare`.
    missing.sort(key=lambda layer: (layer.height, layer.width, layer.in_channels))
    done = 0
    try:
        for layer in missing:
            table[layer] = time_layer(layer, table.execution, runs)
            done += 1
            advance(done, len(missing))
            if done % _SAVE_EVERY == 0:
                table.save(path)
    finally:
        if done:
            table.save(path)
    return done


def measure_networks(
    table: LatencyTable,
    modules: Sequence[nn.Module],
    size: Size,
    path: Path,
    runs: int | None = None,
) -> None:
    """Times whole networks, so that a table knows how layers add up.

    Args:
        table: The table, which gets them unless it has them all.
        modules: Networks for one task that differ in their layers. Beside those they do
            the same, and what the first does stands for all.
        size: Pixels of the picture.
        path: File that the table is saved to.
        runs: See :func:`time_networks`.
    """
    traces = [trace(module, size) for module in modules]
    layers, overhead = [each.layers for each in traces], traces[0].overhead
    known = [table.find_network(each, overhead) for each in layers]
    if all(known):
        return
    loaded = [
        load_network(as_graph(module, size), table.execution) for module in modules
    ]
    found = [
        NetworkTime(
            overhead, table.layers_us(each), whole_us, digest_network(each, overhead)
        )
        for each, whole_us in zip(layers, time_networks(loaded, runs), strict=True)
    ]
    # All of them anew: only times of one hour can be compared.
    others = [network for network in table.networks if network not in known]
    table.networks = [*others, *found]
    table.save(path)


def time_layer(layer: Layer, execution: Execution, runs: int = RUNS) -> float:
    """Times a layer as part of a network.

    Args:
        layer: The layer.
        execution: How it is run.
        runs: Measured calls.

    Returns:
        Microseconds of one call of the layer.

    Raises:
        UserError: When the backend is not installed.
    """
    fitting = _MOST_WEIGHTS // max(1, layer.madds // math.prod(layer.out_size))
    copies = min(COPIES, max(_FEWEST_COPIES, fitting))
    full = load_layer(layer, copies, False, execution)
    bare = _load_bare(bare_layer(layer), copies, execution)
    batch = _noise(input_shape(layer))
    calls = [partial(full, batch), partial(bare, batch)]
    with_copies_us, without_us = fast_us(time_turns(calls, runs=runs))
    # What is lost in the noise is next to nothing, and yet measured.
    return max(_LEAST_US, float(with_copies_us - without_us) / copies)


def load_layer(layer: Layer, copies: int, bare: bool, execution: Execution) -> Runtime:
    """Gives copies of a layer, or what is around them, to a backend."""
    format_name = BACKENDS[execution.backend] or ''
    write = _FROM_ONNX.get(format_name)
    if not write:
        graph = PlainGraph(LayerGraph(layer, copies, bare), input_shape(layer))
        return load_network(graph, execution)
    info = replace(_INFO, input_shape=input_shape(layer))
    model = onnx_model(layer, copies, bare, info)
    with tempfile.TemporaryDirectory(prefix='mmnv3-layer-') as folder:
        suffix = file_suffix(execution.backend)
        source, made = (Path(folder) / f'{name}{suffix}' for name in ('fp32', 'made'))
        write(model, source, info.to_strings())
        if execution.precision in ('fp32', 'bf16'):
            # In bfloat16 a backend computes float files.
            return load_runtime(source, execution.threads, execution.precision)
        batches = [_noise(info.input_shape)]
        reduce_precision(
            format_name, execution.precision, source, made, lambda: batches
        )
        return load_runtime(made, execution.threads)


def load_network(graph: ExportGraph | PlainGraph, execution: Execution) -> Runtime:
    """Gives a network to a backend.

    Args:
        graph: What :func:`mmnv3.search.latency.tracing.as_graph` returns.
        execution: How it is run.

    Raises:
        UserError: When the backend is not installed.
    """
    batch, channels, height, width = graph.example().shape
    shape = batch, channels, height, width
    info = replace(_INFO, task=graph.task, input_shape=shape)
    if isinstance(graph, ExportGraph):
        classes = tuple(map(str, range(graph.num_classes)))
        info = replace(info, classes=classes, **_ABOUT_PICTURES)
    # A plain graph has all that exporting asks of one.
    graph = cast(ExportGraph, graph)
    backend, precision = execution.backend, execution.precision
    file_format = BACKENDS[backend]
    if file_format is None:
        graph = graph.in_precision(precision)
        info = replace(info, precision=precision)
        return run_graph(graph, info, backend, execution.threads)
    with tempfile.TemporaryDirectory(prefix='mmnv3-network-') as folder:
        path = Path(folder) / f'network{file_suffix(backend)}'
        # What times are measured of has no pictures, and needs no accuracy.
        batches = [_noise(info.input_shape)]
        write_file(graph, info, path, file_format, precision, lambda: batches)
        return load_runtime(path, execution.threads)


def time_networks(networks: Sequence[Runtime], runs: int | None = None) -> list[float]:
    """Times networks, which take turns of several calls each.

    Of several, since the weights of many networks do not fit into the processor's cache
    together.

    Args:
        networks: What :func:`load_network` returns.
        runs: Measured calls of each; None for at least :data:`NETWORK_RUNS`, and for as
            many as :data:`NETWORK_SECONDS` allow.

    Returns:
        Microseconds of each.
    """
    calls = [partial(network, _noise(network.info.input_shape)) for network in networks]
    times_us = time_turns(
        calls,
        runs=runs or NETWORK_RUNS,
        turn=_TURN,
        least_seconds=0 if runs else NETWORK_SECONDS,
    )
    return fast_us(times_us).tolist()


def _noise(shape: Sequence[int]) -> np.ndarray:
    return np.random.default_rng(0).standard_normal(shape, np.float32)


@lru_cache(maxsize=64)
def _load_bare(layer: Layer, copies: int, execution: Execution) -> Runtime:
    return load_layer(layer, copies, True, execution)


def _write_onnx(model: Any, path: Path, strings: dict[str, str]) -> None:
    path.write_bytes(model.SerializeToString())


def _write_openvino(model: Any, path: Path, strings: dict[str, str]) -> None:
    openvino = require('openvino', 'openvino')
    read = openvino.Core().read_model(model.SerializeToString())
    for name, value in strings.items():
        read.set_rt_info(value, [RT_INFO, name])
    openvino.save_model(read, path, compress_to_fp16=False)


_FROM_ONNX = {'onnx': _write_onnx, 'openvino': _write_openvino}
