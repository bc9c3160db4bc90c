"""What networks in the place of a config's take: by a table, or measured."""

from __future__ import annotations

from collections.abc import Sequence

from mmengine.config import Config

from mmnv3.arch import NetSpec
from mmnv3.engine.config import input_size
from mmnv3.search.configs import build, config_network, with_spec
from mmnv3.search.latency.measuring import load_network, time_networks
from mmnv3.search.latency.price import ConfigPrice
from mmnv3.search.latency.table import LatencyTable
from mmnv3.search.latency.tracing import as_graph
from mmnv3.search.netadapt.comparison import Measure


def config_price(
    config: Config, table: LatencyTable, size: tuple[int, int] | None = None
) -> ConfigPrice:
    """The price of a network with the neck and head of a config.

    Args:
        config: The config.
        table: Layers by microseconds.
        size: (width, height) of the picture; the config's own by default.

    Raises:
        UserError: When the config's model cannot be priced by the table.
    """
    return ConfigPrice(
        table,
        input_size(config, size),
        config_network(config).spec,
        lambda spec: build(with_spec(config, spec)),
        config.model.backbone,
    )


def config_measure(
    config: Config, table: LatencyTable, size: tuple[int, int] | None = None
) -> Measure | None:
    """Times whole networks as the table's layers were.

    Args:
        config: The config.
        table: Tells the backend and the threads.
        size: (width, height) of the picture; the config's own by default.

    Returns:
        Microseconds of specifications, which take turns; None where the table is of
        another machine, of which nothing can be measured here.
    """
    size = input_size(config, size)
    here = LatencyTable.new(table.backend, table.threads)
    if not table.is_of(here.machine):
        return None

    def measure(specs: Sequence[NetSpec]) -> list[float]:
        models = (build(with_spec(config, spec)) for spec in specs)
        return time_networks(
            [
                load_network(as_graph(model, size), table.backend, table.threads)
                for model in models
            ]
        )

    return measure
