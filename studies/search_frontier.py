"""Do the searches find better networks than the width multiplier does?

Multipliers of a config's network, what NetAdapt cuts it to and what NAS finds are all
trained from scratch by the config's whole schedule and timed in turns. A network is
worth what it has more than the multipliers, interpolated at its latency.

Example:
    python tools/demo_data.py
    python -m studies.search_frontier configs/ssdlite_mnv3_small_demo.py \
        --out work_dirs/search_frontier

What was trained or searched is kept, and the same command goes on with the rest; whole
trainings also in docs/whole_trainings.json, for another day or machine.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field

import numpy as np
from matplotlib.figure import Figure
from mmengine.config import Config
from rich.console import Console

from mmnv3 import arguments
from mmnv3.arch import NetSpec, load_spec
from mmnv3.benchmark.machine import describe_machine, machine_line
from mmnv3.engine.build import build_model
from mmnv3.engine.config import input_size
from mmnv3.errors import one_line_errors
from mmnv3.search.configs import (
    Budget,
    build,
    config_network,
    schedule_length,
    with_sampled_spec,
)
from mmnv3.search.folder import Folder
from mmnv3.search.latency.measuring import load_network, search_table, time_networks
from mmnv3.search.latency.price import config_price
from mmnv3.search.latency.table import Execution
from mmnv3.search.latency.tracing import as_graph
from mmnv3.search.nas.config_search import NASPlan, search_config
from mmnv3.search.nas.reward import make_reward
from mmnv3.search.nas.search import NASSettings, pareto
from mmnv3.search.netadapt.comparison import closest_multiplier, uniform
from mmnv3.search.netadapt.config_search import NetAdaptPlan, adapt_config
from mmnv3.search.netadapt.outputs import write_teacher
from mmnv3.search.netadapt.search import step_name
from mmnv3.search.netadapt.weights import inherit
from mmnv3.search.target import Price
from mmnv3.search.trial import State
from studies.page import markdown_table, write_page
from studies.plots import name_point, new_figure
from studies.whole_trainings import (
    open_study,
    study_parser,
    train_whole,
    weights_file,
)

# Multipliers, and fractions of the seed's latency that each search is asked for. Of
# V3-Small's detector ×0.75 takes as long as ×0.85: widths are multiples of 8.
WIDTHS = (1.0, 0.85, 0.65, 0.5, 0.35)
NETADAPT = (0.85, 0.7, 0.55)
NAS = (1.0, 0.7)
# Those of NetAdapt's that are also fine-tuned.
TUNED = (0.7,)
MULTIPLIER = 'width multiplier'
TUNED_MULTIPLIER, TUNED_FOUND = f'{MULTIPLIER}, fine-tuned', 'NetAdapt, fine-tuned'
# By which the same network may measure slower another time.
_NOISE = 1.03
# A proposal of NetAdapt trains so long, in the config's schedule and at least.
_SHARE, _LEAST = 20, 40
_COLOURS = {
    MULTIPLIER: 'tab:orange',
    'NetAdapt': 'tab:blue',
    'NAS': 'tab:green',
    TUNED_MULTIPLIER: 'tab:red',
    TUNED_FOUND: 'tab:purple',
}


@dataclass(frozen=True)
class Candidate:
    """A network to train.

    Args:
        how: What it is of: a key of :data:`_COLOURS`.
        name: Of the network, as ``×0.75`` or ``0.7``.
        config: The config, with the network in it.
        state: The weights that it starts from; None for a training from scratch.
    """

    how: str
    name: str
    config: Config
    state: State | None = field(default=None, repr=False)

    @property
    def file(self) -> str:
        """What its files are called."""
        return f'{self.how} {self.name}'.translate(_IN_FILES)


_IN_FILES = str.maketrans({' ': '_', '×': 'x', ',': ''})


@dataclass(frozen=True)
class Entry:
    """A network that was trained.

    Args:
        how: What it is of: a key of :data:`_COLOURS`.
        name: Of the network, as ``×0.75`` or ``0.7``.
        accuracies: Of its trainings, 0 to 1.
        latency_us: Of the exported config, measured.
        spec: The network.
    """

    how: str
    name: str
    accuracies: tuple[float, ...]
    latency_us: float
    spec: NetSpec

    @property
    def accuracy(self) -> float:
        """The mean."""
        return float(np.mean(self.accuracies))


def multiplier_frontier(entries: Sequence[Entry]) -> list[Entry]:
    """The multipliers that no faster one beats, by latency."""
    return pareto(entry for entry in entries if entry.how == MULTIPLIER)


def multiplier_accuracy(entries: Sequence[Entry], latency_us: float) -> float | None:
    """What the multipliers have at a latency; None beyond the ends of theirs.

    One that a faster one beats is nobody's choice, and does not count.

    Args:
        entries: All networks.
        latency_us: The latency.
    """
    times, values = zip(
        *[(entry.latency_us, entry.accuracy) for entry in multiplier_frontier(entries)]
    )
    if not times[0] <= latency_us <= _NOISE * times[-1]:
        return None
    return float(np.interp(latency_us, times, values))


def _multipliers(config: Config) -> Iterator[Candidate]:
    network = config_network(config)
    for width in WIDTHS:
        edited = with_sampled_spec(config, uniform(network, width).spec)
        yield Candidate(MULTIPLIER, f'×{width:g}', edited)


# What NetAdapt found, by the part of the seed's latency, with its weights.
_Adapted = Mapping[float, tuple[NetSpec, State]]


def _adapt(config: Config, state: State, folder: Folder, ray: str | None) -> _Adapted:
    """Cuts the seed by NetAdapt, from its weights."""
    model = build_model(config)
    model.load_state_dict(state)
    way = Folder(folder.path / 'netadapt')
    # The way to the fastest passes by the others.
    plan = NetAdaptPlan(
        None,
        f'{min(NETADAPT):g}',
        Budget(max(_LEAST, schedule_length(config) // _SHARE), 0.1),
        way.path,
        compare_width=False,
        ray=ray,
    )
    steps = adapt_config(model, plan, Console())
    seed_us = steps[0].winner.latency_us
    found = {}
    for part in NETADAPT:
        number = next(
            step.number for step in steps if step.winner.latency_us <= part * seed_us
        )
        step = step_name(number)
        spec = way.read_spec(f'{step}/spec.json')
        found[part] = spec, way.read_weights(f'{step}/weights.pth')
    return found


def _adapted(config: Config, found: _Adapted) -> Iterator[Candidate]:
    """What NetAdapt found, from scratch."""
    for part, (spec, _) in found.items():
        yield Candidate('NetAdapt', f'{part:g}', with_sampled_spec(config, spec))


def _sampled(
    config: Config,
    seed_us: float,
    folder: Folder,
    samples: int,
    finalists: int,
    space: str,
    ray: str | None,
) -> Iterator[Candidate]:
    """What NAS finds for parts of the seed's latency."""
    for part in NAS:
        place = folder.path / f'nas_{part:g}'
        # A constraint: the comparison is at one latency.
        reward = make_reward(part * seed_us, 'hard')
        settings = NASSettings(reward, samples=samples)
        # One elastic network serves both.
        plan = NASPlan(
            space,
            None,
            Budget(schedule_length(config)),
            place,
            ray=ray,
            trainings=folder.path / 'elastic',
            finalists=finalists,
        )
        search_config(config, settings, plan, Console())
        spec = load_spec(place / 'best.json')
        yield Candidate('NAS', f'{part:g}', with_sampled_spec(config, spec))


def _tuned(
    config: Config, state: State, price: Price, folder: Folder, found: _Adapted
) -> Iterator[Candidate]:
    """What who has a trained detector does: goes on from its weights, taught by it.

    Beside each of NetAdapt's the multiplier that takes as long, which inherits by the
    same rule.
    """
    seed = config_network(config)
    taught = write_teacher(config, state, Folder(folder.path / 'teacher'))
    for part in TUNED:
        spec, inherited = found[part]
        edited = with_sampled_spec(taught, spec)
        yield Candidate(TUNED_FOUND, f'{part:g}', edited, inherited)
        width = closest_multiplier(seed, price, price(spec))
        if width is not None:
            network = uniform(seed, width)
            yield Candidate(
                TUNED_MULTIPLIER,
                f'×{width:g}',
                with_sampled_spec(taught, network.spec),
                inherit(config, state, seed, network),
            )


def run(
    config: Config,
    seeds: int,
    samples: int,
    finalists: int,
    space: str,
    folder: Folder,
    ray: str | None = None,
) -> list[Entry]:
    """Searches, trains and measures.

    Args:
        config: Its network is the seed of NetAdapt and of the multipliers.
        seeds: Of every training.
        samples: Of NAS.
        finalists: Of NAS, for each latency; see
            :class:`mmnv3.search.nas.config_search.NASPlan`.
        space: Of NAS.
        folder: Keeps everything.
        ray: None, or what :func:`mmnv3.search.pool.run_jobs` takes.

    Returns:
        All networks, the multipliers first.
    """
    folder.claim(dict(study='frontier', config=config.to_dict(), space=space))
    found: list[tuple[Candidate, tuple[float, ...]]] = []
    multipliers = list(_multipliers(config))
    seed = multipliers[0].file

    def train(candidates: Iterable[Candidate]) -> None:
        by_file = {candidate.file: candidate for candidate in candidates}
        values = train_whole(
            {file: each.config for file, each in by_file.items()},
            seeds,
            folder,
            ray,
            wanted=[seed],
            states={file: each.state for file, each in by_file.items() if each.state},
        )
        found.extend((each, tuple(values[file])) for file, each in by_file.items())

    train(multipliers)
    state = folder.read_weights(weights_file(seed))
    adapted = _adapt(config, state, folder, ray)
    train(_adapted(config, adapted))
    table, _ = search_table(None, Execution())
    price = config_price(config, table)
    seed_us = price(config_network(config).spec)
    train(_sampled(config, seed_us, folder, samples, finalists, space, ray))
    train(_tuned(config, state, price, folder, adapted))
    size = input_size(config)
    times_us = time_networks(
        [
            load_network(as_graph(build(each.config), size), Execution())
            for each, _ in found
        ]
    )
    return [
        Entry(each.how, each.name, values, latency_us, each.config.model.backbone.arch)
        for (each, values), latency_us in zip(found, times_us, strict=True)
    ]


def table_of(entries: Sequence[Entry]) -> str:
    """A row for every network: its latency, its accuracy, what it has more."""
    rows = []
    for entry in entries:
        expected = multiplier_accuracy(entries, entry.latency_us)
        more = '–' if expected is None else f'{100 * (entry.accuracy - expected):+.1f}'
        values = ', '.join(f'{value:.3f}' for value in entry.accuracies)
        rows.append(
            [
                entry.how,
                entry.name,
                f'{entry.latency_us / 1e3:.2f}',
                f'{entry.accuracy:.3f} ({values})',
                '' if entry.how == MULTIPLIER else more,
            ]
        )
    header = ['how', 'network', 'ms', 'accuracy', 'points above the multipliers']
    return markdown_table(header, rows)


def draw(entries: Sequence[Entry]) -> Figure:
    """Accuracies over latencies, the multipliers as a line."""
    figure = new_figure(7, 4.5)
    axes = figure.subplots()
    for how, colour in _COLOURS.items():
        mine = sorted(
            (entry for entry in entries if entry.how == how),
            key=lambda entry: entry.latency_us,
        )
        times = [entry.latency_us / 1e3 for entry in mine]
        values = [entry.accuracy for entry in mine]
        if mine:
            axes.plot(times, values, 'o', color=colour, label=how)
        for entry, latency_ms in zip(mine, times):
            name_point(axes, entry.name, (latency_ms, entry.accuracy), (5, -9), colour)
            low, high = min(entry.accuracies), max(entry.accuracies)
            axes.plot([latency_ms] * 2, [low, high], color=colour, lw=1)
    line = multiplier_frontier(entries)
    axes.plot(
        [entry.latency_us / 1e3 for entry in line],
        [entry.accuracy for entry in line],
        '--',
        color=_COLOURS[MULTIPLIER],
    )
    axes.set(xlabel='ONNX Runtime, one thread, ms', ylabel='accuracy, whole training')
    axes.grid(alpha=0.3)
    axes.legend(loc='lower right')
    return figure


@one_line_errors()
def main(argv: Sequence[str] | None = None) -> None:
    """Parses the arguments, does it all, and writes the table and the plot."""
    parser = study_parser(__doc__.splitlines()[0])
    parser.add_argument(
        '--samples', type=arguments.count, default=600, help='of NAS; %(default)s'
    )
    parser.add_argument(
        '--finalists',
        type=arguments.count,
        default=0,
        help='of NAS that are trained to the end; none by default',
    )
    args = parser.parse_args(argv)
    config, folder = open_study(args)
    with folder.alone():
        entries = run(
            config,
            args.seeds,
            args.samples,
            args.finalists,
            args.space,
            folder,
            args.ray,
        )
        machine = describe_machine(1)
        content = dict(machine=machine, entries=[asdict(entry) for entry in entries])
        folder.write_json('frontier.json', content)
    table = table_of(entries)
    page = f'{table}\n{machine_line(machine)}\n'
    write_page(args.out / 'frontier.md', page, {'frontier.png': draw(entries)})
    print(page)


if __name__ == '__main__':
    main()
