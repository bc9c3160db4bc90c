"""A machine whose latencies follow a law."""

import pytest

from mmnv3.arch.layers import Layer
from mmnv3.search.latency import measuring
from mmnv3.search.latency.tracing import trace
from mmnv3.size import Size

SIZE = Size(320, 320)


def law(layer: Layer) -> float:
    """Exactly interpolated, since it is linear in widths and their product."""
    return 1 + sum(layer.widths) / 50 + layer.madds / 1e5


@pytest.fixture
def machine(monkeypatch) -> None:
    """One whose networks take half as long again as their layers, and 10 µs."""
    monkeypatch.setattr(measuring, 'time_layer', lambda layer, *_: law(layer))
    monkeypatch.setattr(measuring, 'load_network', lambda graph, *_: graph)

    def time_networks(graphs, *_):
        return [1.5 * sum(map(law, trace(g, SIZE).layers)) + 10 for g in graphs]

    monkeypatch.setattr(measuring, 'time_networks', time_networks)
