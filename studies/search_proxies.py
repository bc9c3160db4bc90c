"""How well does what a search goes by tell what whole trainings come to?

Networks of a space, from its fastest to its slowest, are trained by the config's whole
schedule, and scored by each proxy. Spearman's correlation tells how alike the orders
are: 1 is the same order, 0 is chance.

Example:
    python tools/demo_data.py
    python -m studies.search_proxies configs/ssdlite_mnv3_small_demo.py \
        --out work_dirs/search_proxies

What was trained is kept, and the same command goes on with the rest; whole trainings
also in docs/whole_trainings.json, for another day or machine.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

import numpy as np
import torch
from mmengine.config import Config
from scipy.stats import spearmanr

from mmnv3 import arguments
from mmnv3.arch.layers import Network, list_layers
from mmnv3.benchmark.clock import Stopwatch
from mmnv3.benchmark.machine import describe_machine, machine_line
from mmnv3.engine.config import input_size
from mmnv3.errors import one_line_errors
from mmnv3.search.configs import (
    Budget,
    config_network,
    schedule_length,
    with_sampled_spec,
)
from mmnv3.search.folder import Folder, to_json
from mmnv3.search.nas.proxies import ElasticProxy, ScratchProxy
from mmnv3.search.nas.search import Evaluate
from mmnv3.search.nas.space import Space, Tokens, get_space
from mmnv3.search.trial import State
from mmnv3.size import Size
from studies.page import DASH, markdown_table
from studies.seed_proxies import seed_proxies
from studies.whole_trainings import (
    open_study,
    study_parser,
    train_whole,
    weights_file,
)

# Networks that are drawn to find some of every size among them.
_DRAWN = 400
# Iterations from scratch, and lengths of an elastic training in the config's own.
SCRATCH = (40, 100)
ELASTIC = (1, 2)
_SIZE = 'multiply-adds'


def choose_networks(
    space: Space, count: int, cost: Callable[[Tokens], float]
) -> list[Tokens]:
    """Random networks of a space, by their cost, equally many of every part of it.

    Args:
        space: The space.
        count: How many.
        cost: Of a network.
    """
    chance = random.Random(0)
    drawn = sorted({space.random(chance) for _ in range(_DRAWN)}, key=cost)
    places = np.linspace(0, len(drawn) - 1, count).round().astype(int)
    return [drawn[place] for place in places]


def network_madds(config: Config, space: Space, size: Size, tokens: Tokens) -> int:
    """Multiply-adds of the backbone that a network is."""
    backbone = with_sampled_spec(config, space.decode(tokens)).model.backbone
    layers = list_layers(Network.of_backbone(backbone), size)
    return sum(layer.madds for layer in layers)


def proxies_of(
    config: Config, space: Space, seed: State, folder: Path, ray: str | None = None
) -> dict[str, Evaluate]:
    """What is compared, by name.

    Args:
        config: The config.
        space: The space.
        seed: All weights of the config's trained model.
        folder: Of the trainings.
        ray: None, or what :func:`mmnv3.search.pool.run_jobs` takes.
    """
    whole = schedule_length(config)
    found: dict[str, Evaluate] = {}
    for iterations in SCRATCH:
        name = f'{iterations} iterations from scratch'
        proxy = ScratchProxy(config, space, Budget(iterations), folder / 'scratch', ray)
        found[name] = proxy
    for factor in ELASTIC:
        name = f'elastic network, {factor * whole} iterations'
        place = folder / f'elastic_{factor}'
        found[name] = ElasticProxy(config, space, Budget(factor * whole), place, ray)
    return {**found, **seed_proxies(config, space, seed, folder, ray)}


def score(
    evaluate: Evaluate, networks: Sequence[Tokens], folder: Folder, name: str
) -> tuple[list[float | None], float]:
    """What a proxy says of networks, and the seconds that it took for all of them."""
    file = f'proxies/{name.replace(" ", "_")}.json'
    record = folder.read_json(file)
    if record is None:
        stopwatch = Stopwatch()
        outcomes = dict(evaluate(networks))
        values = [outcomes[place].accuracy for place in range(len(networks))]
        record = dict(accuracy=values, seconds=round(stopwatch.seconds, 1))
        folder.write_json(file, record)
    return record['accuracy'], record['seconds']


def rank_correlation(
    first: Sequence[float | None], second: Sequence[float | None]
) -> float:
    """Spearman's, of the networks that both have a figure of."""
    pairs = [pair for pair in zip(first, second) if None not in pair]
    return float(spearmanr(*zip(*pairs)).statistic)


def compare(
    config: Config,
    space: Space,
    count: int,
    seeds: int,
    folder: Folder,
    ray: str | None = None,
) -> str:
    """Trains, scores, and writes a table.

    Args:
        config: The config.
        space: The space.
        count: Networks.
        seeds: Of every whole training.
        folder: Keeps everything.
        ray: None, or what :func:`mmnv3.search.pool.run_jobs` takes.

    Returns:
        The table: of every proxy the correlation with the mean of the whole trainings,
        and its time.
    """
    settings = dict(
        study='proxies', config=config.to_dict(), space=space.name, networks=count
    )
    folder.claim(settings)
    cost = partial(network_madds, config, space, input_size(config))
    networks = choose_networks(space, count, cost)
    configs = {
        f'network_{number:02}': with_sampled_spec(config, space.decode(each))
        for number, each in enumerate(networks)
    }
    found = list(train_whole(configs, seeds, folder, ray).values())
    spec = config_network(config).spec
    own = dict(seed=with_sampled_spec(config, spec))
    train_whole(own, 1, folder, ray, wanted=own)
    seed = folder.read_weights(weights_file('seed'))
    truths, mean = list(zip(*found)), np.mean(found, axis=1).tolist()
    rows = [[_SIZE, f'{rank_correlation(list(map(cost, networks)), mean):.2f}', DASH]]
    if seeds > 1:
        again = rank_correlation(*truths[:2])
        rows.append(['whole training, another seed', f'{again:.2f}', DASH])
    for name, evaluate in proxies_of(config, space, seed, folder.path, ray).items():
        values, seconds = score(evaluate, networks, folder, name)
        rows.append(
            [name, f'{rank_correlation(values, mean):.2f}', f'{seconds / 60:.1f}']
        )
    header = ['what ranks the networks', 'Spearman', f'minutes for {count}']
    table = markdown_table(header, rows)
    content = dict(
        machine=describe_machine(torch.get_num_threads()), whole=truths, rows=rows
    )
    folder.write_json('proxies.json', to_json(content))
    return table


@one_line_errors()
def main(argv: Sequence[str] | None = None) -> None:
    """Parses the arguments, compares, and prints the table."""
    parser = study_parser(__doc__.splitlines()[0])
    parser.add_argument(
        '--networks', type=arguments.count, default=12, help='%(default)s'
    )
    args = parser.parse_args(argv)
    config, folder = open_study(args)
    space = get_space(args.space, config.model.backbone.get('tail'))
    with folder.alone():
        print(compare(config, space, args.networks, args.seeds, folder, args.ray))
    print(machine_line(describe_machine(torch.get_num_threads())))


if __name__ == '__main__':
    main()
