"""Fills a latency table, and goes on where it was interrupted."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

from torch import nn

from mmnv3.errors import UserError
from mmnv3.search.latency import timing
from mmnv3.search.latency.layers import REST, LayerShape
from mmnv3.search.latency.table import LatencyTable
from mmnv3.search.latency.together import NetworkTime
from mmnv3.search.latency.tracing import as_graph, layers_of

# Layers that are measured between two times that the table is saved.
_SAVE_EVERY = 10


def open_table(path: Path, backend: str, threads: int = 1) -> LatencyTable:
    """The table of a file to go on with, or a new one.

    Raises:
        UserError: When the file's table is of another backend, number of threads or
            machine, which would be mixed.
    """
    new = LatencyTable.new(backend, threads)
    if not path.exists():
        return new
    table = LatencyTable.load(path)
    if (table.backend, table.threads) != (backend, threads):
        raise UserError(
            f'{path} is of {table.backend} with {table.threads} threads, not of '
            f'{backend} with {threads}; name another file by --out'
        )
    if not table.is_of(new.machine):
        raise UserError(
            f'{path} is of another machine and would be mixed with this one; name '
            'another file by --out'
        )
    return table


def measure_layers(
    table: LatencyTable,
    layers: Iterable[LayerShape],
    path: Path,
    runs: int = timing.RUNS,
    advance: Callable[[int, int], None] = lambda done, total: None,
) -> int:
    """Measures the layers that a table lacks.

    Args:
        table: The table, which gets them.
        layers: Any layers; the ``'rest'`` of networks is left out.
        path: File that the table is saved to, every few layers and when interrupted.
        runs: Measured calls of each.
        advance: Called with how many are done, of how many.

    Returns:
        How many were measured.

    Raises:
        UserError: When the backend is not installed; what was measured stays.
    """
    missing = [
        layer
        for layer in dict.fromkeys(layers)
        if layer not in table.layers and layer.kind != REST
    ]
    # Layers that share what is around them follow each other; see `timing`.
    missing.sort(key=lambda layer: (layer.height, layer.width, layer.in_channels))
    done = 0
    try:
        for done, layer in enumerate(missing, 1):
            table[layer] = timing.time_layer(layer, table.backend, table.threads, runs)
            advance(done, len(missing))
            if done % _SAVE_EVERY == 0:
                table.save(path)
    finally:
        if table.layers:
            table.save(path)
    return done


def measure_networks(
    table: LatencyTable,
    modules: Sequence[nn.Module],
    size: tuple[int, int],
    path: Path,
    runs: int | None = None,
) -> None:
    """Times whole networks, so that a table knows how layers add up.

    Args:
        table: The table, which gets them, if it has fewer that do the same.
        modules: Networks for one task that differ in their layers. Beside those they do
            the same, and what the first does stands for all.
        size: Pixels of the picture, (width, height).
        path: File that the table is saved to.
        runs: See :func:`mmnv3.search.latency.timing.time_networks`.
    """
    rest = layers_of(modules[0], size)[-1]
    others = [network for network in table.networks if network.rest != rest]
    if len(table.networks) - len(others) >= len(modules):
        return
    loaded = [
        timing.load_network(as_graph(module, size), table.backend, table.threads)
        for module in modules
    ]
    alone = [table.alone(layers_of(module, size)) for module in modules]
    together = timing.time_networks(loaded, runs)
    found = [NetworkTime(rest, *times) for times in zip(alone, together, strict=True)]
    table.networks = [*others, *found]
    table.save(path)
