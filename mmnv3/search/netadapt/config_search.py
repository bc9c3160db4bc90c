"""NetAdapt of a config, from its weights to what was found."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from mmengine.config import Config
from rich.console import Console
from rich.table import Table

from mmnv3.search.configs import Budget, config_network, with_spec
from mmnv3.search.folder import identify
from mmnv3.search.latency.price import config_price
from mmnv3.search.latency.table import LatencyTable
from mmnv3.search.netadapt.comparison import compare_uniform, config_measure
from mmnv3.search.netadapt.outputs import (
    plot_search,
    train_final,
    write_found,
    write_uniform,
)
from mmnv3.search.netadapt.search import (
    Cut,
    FinishedStep,
    NetAdaptTask,
    Point,
    adapt,
    check,
)
from mmnv3.search.netadapt.weights import inherit
from mmnv3.search.target import parse_latency
from mmnv3.search.trial import State, Trial, metric_name, train_and_score


@dataclass(frozen=True)
class Trainer:
    """Trains a cut network with the weights that it inherits.

    Args:
        config: The seed's.
    """

    config: Config

    def __call__(self, cut: Cut) -> Trial:
        """Cuts the weights, trains and scores."""
        state = inherit(self.config, cut.state, cut.old, cut.new)
        config = with_spec(self.config, cut.new.spec)
        return train_and_score(config, cut.budget, cut.work_dir, state)


@dataclass(frozen=True)
class NetAdaptPlan:
    """What is searched, and what is done with what was found.

    Args:
        table: A latency table.
        target: The latency, as :func:`mmnv3.search.target.parse_latency` reads it.
        budget: The training of every proposal.
        work_dir: Where everything is kept.
        size: (width, height) of the picture; the config's own by default.
        delta: What a step cuts at least, as a fraction of the seed's latency.
        criterion: One of :data:`mmnv3.search.netadapt.search.CRITERIA`.
        compare_width: Whether to train the width multiplier that is as fast.
        train_final: One of :data:`mmnv3.search.netadapt.outputs.FINAL`, or None.
        ray: None, or what :func:`mmnv3.search.pool.run_jobs` takes.
    """

    table: Path
    target: str
    budget: Budget
    work_dir: Path
    size: tuple[int, int] | None = None
    delta: float = 0.01
    criterion: str = 'ratio'
    compare_width: bool = False
    train_final: str | None = None
    ray: str | None = None


def adapt_config(
    config: Config, state: State, plan: NetAdaptPlan, console: Console
) -> list[FinishedStep]:
    """Searches, prints how it goes and what was found, and writes it.

    Args:
        config: Its network is the seed.
        state: The weights of its model.
        plan: What is searched.
        console: Where to print.

    Returns:
        The steps of the search.

    Raises:
        UserError: For what a person can mend; what was tried is kept.
    """
    table = LatencyTable.load(plan.table)
    price = config_price(config, table, plan.size)
    seed = config_network(config)
    task = NetAdaptTask(
        seed,
        state,
        price,
        Trainer(config),
        parse_latency(plan.target, price(seed.spec)),
        plan.budget,
        plan.work_dir,
        plan.delta,
        plan.criterion,
        identify(config, table),
        plan.ray,
        console.print,
    )
    check(task)
    with task.folder.alone():
        steps = adapt(task)
        networks = {steps[-1].winner.name: write_found(config, task, steps)}
        compared = None
        if plan.compare_width:
            compared = compare_uniform(
                task, steps, config_measure(config, table, plan.size)
            )
            if compared.accuracy is not None:
                networks[compared.name] = write_uniform(config, task)
        picture = plot_search(config, task, steps, compared)
        _print_way(config, steps, compared, console)
        for name, path in networks.items():
            console.print(f'{name}: {path} is the config, {path.stem}.pth the weights')
        console.print(f'plot: {picture}')
        if plan.train_final:
            for path in networks.values():
                value = train_final(path, plan.train_final)
                console.print(
                    f'{path.stem}, trained by its whole schedule ({plan.train_final}): '
                    f'{metric_name(config)} {value:.4g} on the validation set'
                )
        return steps


def _print_way(
    config: Config,
    steps: Sequence[FinishedStep],
    compared: Point | None,
    console: Console,
) -> None:
    shown = Table('step', 'change', 'latency, ms', f'{metric_name(config)}, held out')
    rows = [(str(step.number), step.winner) for step in steps]
    for number, point in rows + ([('–', compared)] if compared else []):
        accuracy = '–' if point.accuracy is None else f'{point.accuracy:.4g}'
        shown.add_row(number, point.name, f'{point.latency_us / 1000:.3f}', accuracy)
    console.print(shown)
