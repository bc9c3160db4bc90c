"""What a latency table lacks to price the networks of a space."""

from __future__ import annotations

import random
from collections.abc import Callable
from itertools import product
from pathlib import Path

from mmengine.config import Config

from mmnv3.arch.layers import Layer
from mmnv3.files import only_process
from mmnv3.search.configs import build, with_sampled_spec
from mmnv3.search.latency.grid import search_grid
from mmnv3.search.latency.measuring import BUSY, measure_layers, measure_networks
from mmnv3.search.latency.price import ConfigPrice
from mmnv3.search.latency.table import LatencyTable
from mmnv3.search.nas.space import Space

# Random networks of the space that tell how layers add up.
_NETWORKS = 9


def space_layers(price: ConfigPrice, space: Space) -> list[Layer]:
    """Layers between whose prices those of every network of a space lie.

    Args:
        price: Says which layers a config has with a network.
        space: The space.
    """
    layers: dict[Layer, None] = {}
    # The narrowest and the widest of each kind; the grid is of the widest, and does not
    # go down to blocks without an expansion.
    filters = min(space.choices['filters']), max(space.choices['filters'])
    kinds = product(space.choices['op'], space.choices['kernel'], filters)
    for op, kernel, factor in kinds:
        tokens = space.uniform(
            op=op, kernel=kernel, se=0.25, residual=True, filters=factor, layers=1
        )
        layers.update(dict.fromkeys(price.trace(space.decode(tokens)).layers))
    return search_grid(layers)


def complete_table(
    config: Config,
    price: ConfigPrice,
    path: Path,
    space: Space,
    advance: Callable[[int, int], None],
) -> int:
    """Measures what a table lacks for a space; a table of elsewhere stays as it is.

    Args:
        config: The config.
        price: Its price, whose table gets the layers.
        path: The table's file, which gets them too.
        space: The space.
        advance: Called with how many layers are done, of how many.

    Returns:
        How many were measured.

    Raises:
        UserError: When the table's backend is not installed here.
    """
    table = price.table
    if not table.is_of(LatencyTable.new(table.execution).machine):
        return 0
    with only_process(path, BUSY):
        if path.exists():
            table.add(LatencyTable.load(path))
        count = measure_layers(table, space_layers(price, space), path, advance=advance)
        chance = random.Random(0)
        specs = [space.decode(space.random(chance)) for _ in range(_NETWORKS)]
        traces = [price.trace(spec) for spec in specs]
        # The first stands for all, as in `measure_networks`.
        overhead = traces[0].overhead
        if not all(table.find_network(each.layers, overhead) for each in traces):
            networks = [build(with_sampled_spec(config, spec)) for spec in specs]
            measure_networks(table, networks, price.size, path)
    return count
