"""A machine whose latencies follow a law."""

import pytest

from mmnv3.search.latency import timing
from mmnv3.search.latency.layers import LayerShape
from mmnv3.search.latency.tracing import layers_of

SIZE = 320, 320


def law(layer: LayerShape) -> float:
    """Exactly interpolated, since it is linear in widths and their product."""
    return 1 + sum(layer.widths) / 50 + layer.madds / 1e5


@pytest.fixture
def machine(monkeypatch) -> None:
    """One whose networks take half as long again as their layers, and 10 µs."""
    monkeypatch.setattr(timing, 'time_layer', lambda layer, *_: law(layer))
    monkeypatch.setattr(timing, 'load_network', lambda graph, *_: graph)

    def time_networks(graphs, *_):
        return [1.5 * sum(map(law, layers_of(g, SIZE)[:-1])) + 10 for g in graphs]

    monkeypatch.setattr(timing, 'time_networks', time_networks)
