"""The uniform width multiplier that a search has to beat.

It leaves, in the folder ``uniform`` of its search, ``width.json``, ``spec.json``, and
``score.json`` and ``score.pth``.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

from mmengine.config import Config

from mmnv3.arch import NetSpec, Network, scale_width
from mmnv3.engine.config import input_size
from mmnv3.json_files import is_number
from mmnv3.search.configs import build, with_spec
from mmnv3.search.latency.measuring import load_network, time_networks
from mmnv3.search.latency.table import LatencyTable
from mmnv3.search.latency.tracing import as_graph
from mmnv3.search.netadapt.search import (
    Cut,
    FinishedStep,
    NetAdaptTask,
    Point,
    read_point,
    run_alone,
    step_name,
    write_point,
)
from mmnv3.search.target import Price

# Microseconds of networks that take turns.
Measure = Callable[[Sequence[NetSpec]], list[float]]
FOLDER = 'uniform'
# Multipliers that are measured to find the one that is as fast.
_MEASURED = 8


def uniform(network: Network, width: float) -> Network:
    """The network under a width multiplier, with the residuals that it has.

    Without that two widths that become equal would add a residual, and inherited
    weights would meet it unprepared.
    """
    scaled = scale_width(network.spec, width)
    blocks = tuple(
        replace(block, residual=plan.residual)
        for block, plan in zip(scaled.blocks, network.plans(), strict=True)
    )
    return replace(network, spec=replace(scaled, blocks=blocks))


def thinnest_multiplier(spec: NetSpec) -> int:
    """The least width multiplier, in hundredths, that keeps more than half of 8."""
    return int(400 / min(spec.stem.out, *(block.out for block in spec.blocks))) + 1


def closest_multiplier(
    network: Network, price: Price, latency_us: float
) -> float | None:
    """The width multiplier, in hundredths, whose latency is closest to one.

    Widths are multiples of 8, so latencies have gaps: it may be a little slower.

    Args:
        network: The network at multiplier 1.
        price: Microseconds of a network.
        latency_us: The latency.

    Returns:
        The multiplier, at most 1, or None when even the thinnest is slower.
    """

    def price_us(hundredths: int) -> float:
        return price(uniform(network, hundredths / 100).spec)

    low, high = thinnest_multiplier(network.spec), 100
    if price_us(low) > latency_us:
        return None
    while low < high:
        middle = (low + high + 1) // 2
        if price_us(middle) <= latency_us:
            low = middle
        else:
            high = middle - 1
    closest = min(
        (low, min(low + 1, 100)), key=lambda other: abs(price_us(other) - latency_us)
    )
    return closest / 100


def near_multipliers(network: Network, width: float, count: int) -> list[float]:
    """Width multipliers near one, each of another network.

    Args:
        network: The network at multiplier 1.
        width: In whole hundredths; the first that is returned.
        count: How many, if there are so many.
    """
    middle, spec = round(100 * width), network.spec
    possible = range(thinnest_multiplier(spec), 101)
    found: dict[NetSpec, float] = {}
    for hundredths in sorted(possible, key=lambda other: abs(other - middle)):
        if len(found) < count:
            scaled = uniform(network, hundredths / 100).spec
            # Its name has the multiplier in it.
            found.setdefault(replace(scaled, name=spec.name), hundredths / 100)
    return list(found.values())


def compare_uniform(
    task: NetAdaptTask, steps: Sequence[FinishedStep], measure: Measure | None = None
) -> Point | None:
    """Trains the width multiplier that is as fast as what was found.

    It inherits the seed's weights by the same rule, and trains as many iterations as
    the winners did one after the other.

    Args:
        task: What was searched.
        steps: Its steps, at least one after the seed.
        measure: Decides what is as fast; the price of the search without it.

    Returns:
        The network; its specification and weights are in the folder ``uniform``. A
        training whose loss is no number leaves no weights, and is tried again the
        next time. None where no multiplier is as fast.
    """
    folder = task.folder
    width = _choose_width(task, steps, measure)
    if width is None:
        task.report('no width multiplier is as fast as what was found')
        return None
    point = read_point(folder, f'{FOLDER}/score')
    if point is None or point.accuracy is None:
        network = uniform(task.seed, width)
        iterations = task.budget.iterations * (len(steps) - 1)
        budget = replace(task.budget, iterations=iterations)
        log = task.work_dir / FOLDER / 'log'
        trial = run_alone(task, Cut(task.seed, network, task.state, budget, log))
        point = Point(
            f'×{width:g}', task.price(network.spec), trial.value, trial.problem
        )
        folder.write_spec(f'{FOLDER}/spec.json', network.spec)
        write_point(folder, f'{FOLDER}/score', point, trial)
    task.report(f'width multiplier {point}')
    return point


def config_measure(
    config: Config, table: LatencyTable, size: tuple[int, int] | None = None
) -> Measure | None:
    """Times whole networks as the table's layers were.

    Args:
        config: The config.
        table: Tells how networks are run.
        size: (width, height) of the picture; the config's own by default.

    Returns:
        Microseconds of specifications, which take turns; None where the table is of
        another machine, of which nothing can be measured here.
    """
    size = input_size(config, size)
    here = LatencyTable.new(table.execution)
    if not table.is_of(here.machine):
        return None

    def measure(specs: Sequence[NetSpec]) -> list[float]:
        models = (build(with_spec(config, spec)) for spec in specs)
        return time_networks(
            [load_network(as_graph(model, size), table.execution) for model in models]
        )

    return measure


def _choose_width(
    task: NetAdaptTask, steps: Sequence[FinishedStep], measure: Measure | None
) -> float | None:
    """Chooses once: another measurement might choose another."""
    folder = task.folder
    if (known := folder.read_json(f'{FOLDER}/width.json')) is not None:
        width = known.get('width') if isinstance(known, dict) else None
        if not is_number(width) or not 0 < width <= 1:
            raise folder.damaged(f'{FOLDER}/width.json', 'it holds no width')
        return width
    latency_us = steps[-1].winner.latency_us
    width = closest_multiplier(task.seed, task.price, latency_us)
    if width is None:
        return None
    if measure is None:
        folder.write_json(f'{FOLDER}/width.json', dict(width=width))
        return width
    widths = near_multipliers(task.seed, width, _MEASURED)
    found_us, *others_us = measure(
        [
            folder.read_spec(f'{step_name(steps[-1].number)}/spec.json'),
            *(uniform(task.seed, width).spec for width in widths),
        ]
    )
    measured_us = dict(zip(widths, others_us, strict=True))
    width = min(measured_us, key=lambda width: abs(measured_us[width] - found_us))
    folder.write_json(
        f'{FOLDER}/width.json',
        dict(width=width, found_us=found_us, measured_us=measured_us),
    )
    return width
