"""NetAdapt of a config, from its weights to what was found."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import cast

from mmengine.config import Config
from rich.console import Console
from rich.progress import (
    BarColumn,
    Progress,
    TaskProgressColumn,
    TimeRemainingColumn,
)
from rich.table import Table
from torch import nn

from mmnv3.arch import load_spec
from mmnv3.deploy.runtime import BACKENDS, FORMATS
from mmnv3.engine.screen import next_commands
from mmnv3.files import only_process
from mmnv3.search.configs import (
    Budget,
    config_network,
    numbered_blocks,
    with_spec,
)
from mmnv3.search.folder import Folder, identify
from mmnv3.search.latency.config_models import ConfigModel
from mmnv3.search.latency.measuring import BUSY, measure_models, search_table
from mmnv3.search.latency.price import config_price
from mmnv3.search.latency.table import Execution, LatencyTable
from mmnv3.search.netadapt.comparison import compare_uniform, config_measure
from mmnv3.search.netadapt.outputs import (
    plot_search,
    train_final,
    write_found,
    write_teacher,
    write_uniform,
)
from mmnv3.search.netadapt.proposals import proposals
from mmnv3.search.netadapt.search import (
    Cut,
    FinishedStep,
    NetAdaptTask,
    Point,
    adapt,
    check,
    run_seed,
)
from mmnv3.search.netadapt.weights import inherit
from mmnv3.search.target import ms, parse_latency
from mmnv3.search.trial import Trial, metric_name, train_and_score

# The paper's δ, and steps of about which a search is where none is asked for.
_LEAST_DELTA, _STEPS = 0.01, 10
# Of the two trainings by which the time of a search is foretold: their difference is
# what iterations take, and the rest what every training takes.
_TRIAL_ITERATIONS = 2, 10


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
        table: A latency table; for None the one that is kept of this machine, in which
            what it lacks is measured first.
        target: The latency, as :func:`mmnv3.search.target.parse_latency` reads it.
        budget: The training of every proposal.
        work_dir: Where everything is kept.
        size: (width, height) of the picture; the config's own by default.
        delta: What a step cuts at least, as a fraction of the seed's latency; for None
            a tenth of what is cut in all, but no less than the paper's hundredth.
        criterion: One of :data:`mmnv3.search.netadapt.search.CRITERIA`.
        compare_width: Whether to train the width multiplier that is as fast.
        train_final: One of :data:`mmnv3.search.netadapt.outputs.FINAL`, or None.
        distill: Whether the seed teaches whatever is trained.
        ray: None, or what :func:`mmnv3.search.pool.run_jobs` takes.
        execution: How the networks of the table that is kept are run.
    """

    table: Path | None
    target: str
    budget: Budget
    work_dir: Path
    size: tuple[int, int] | None = None
    delta: float | None = None
    criterion: str = 'ratio'
    compare_width: bool = True
    train_final: str | None = None
    distill: bool = False
    ray: str | None = None
    execution: Execution = field(default_factory=Execution)


def adapt_config(
    model: nn.Module, plan: NetAdaptPlan, console: Console
) -> list[FinishedStep]:
    """Searches, prints how it goes and what was found, and writes it.

    Args:
        model: What :func:`mmnv3.engine.build.build_model` returns; its network is the
            seed.
        plan: What is searched.
        console: Where to print.

    Returns:
        The steps of the search.

    Raises:
        UserError: For what a person can mend; what was tried is kept.
    """
    config, state = cast(Config, model.cfg), model.state_dict()
    table = _open_table(model, plan)
    identity = identify(config, table)
    if plan.distill:
        config = write_teacher(config, state, Folder(plan.work_dir))
        identity['distill'] = True
    price = config_price(config, table, plan.size)
    seed = config_network(config)
    seed_us = price(seed.spec)
    target_us = parse_latency(plan.target, seed_us)
    columns = '{task.description}', BarColumn(), TaskProgressColumn()
    with Progress(*columns, TimeRemainingColumn(), console=console) as bar:
        shown = bar.add_task('latency cut', total=1.0, visible=False)
        task = NetAdaptTask(
            seed,
            state,
            price,
            Trainer(config),
            target_us,
            plan.budget,
            plan.work_dir,
            plan.delta or max(_LEAST_DELTA, (1 - target_us / seed_us) / _STEPS),
            plan.criterion,
            numbered_blocks(config),
            identity,
            plan.ray,
            bar.console.print,
            lambda part: bar.update(shown, completed=part, visible=True),
            lambda: console.print(_foretell(task)),
        )
        check(task)
        with task.folder.alone():
            steps = adapt(task)
            bar.update(shown, visible=False)
            return _finish(config, task, steps, table, plan, console)


def _open_table(model: nn.Module, plan: NetAdaptPlan) -> LatencyTable:
    table, path = search_table(plan.table, plan.execution)
    if plan.table is None:
        with only_process(path, BUSY):
            measure_models(table, [ConfigModel.of_model(model, plan.size)], path)
    return table


def _foretell(task: NetAdaptTask) -> str:
    """Says how long a search will take, by two short trainings of its seed."""
    shorter, longer = (
        run_seed(task, replace(task.budget, iterations=iterations)).seconds
        for iterations in _TRIAL_ITERATIONS
    )
    few, many = _TRIAL_ITERATIONS
    iteration = max(0.0, longer - shorter) / (many - few)
    each = max(0.0, shorter + (task.budget.iterations - few) * iteration)
    seed_us = task.price(task.seed.spec)
    cut_us = task.delta * seed_us
    # A sum of so many hundredths may be a little more in binary.
    steps = math.ceil((seed_us - task.target_us) / cut_us - 1e-6)
    number = len(list(proposals(task.seed, task.price, cut_us, task.numbered)))
    return (
        f'{ms(seed_us)} to {ms(task.target_us)}: at most {steps} steps of up to '
        f'{number} proposals, {task.budget.iterations} iterations each; about '
        f'{_duration(steps * number * each)} one after the other, by {each:.0f} s '
        'a proposal, measured now'
    )


def _duration(seconds: float) -> str:
    minutes = seconds / 60
    return f'{minutes:.0f} min' if minutes < 100 else f'{minutes / 60:.1f} h'


def _finish(
    config: Config,
    task: NetAdaptTask,
    steps: list[FinishedStep],
    table: LatencyTable,
    plan: NetAdaptPlan,
    console: Console,
) -> list[FinishedStep]:
    """Writes, compares and tells what was found."""
    networks = {steps[-1].winner.name: write_found(config, task, steps)}
    measure = config_measure(config, table, plan.size)
    compared = None
    if plan.compare_width:
        compared = compare_uniform(task, steps, measure)
        if compared and compared.accuracy is not None:
            networks[compared.name] = write_uniform(config, task)
    picture = plot_search(config, task, steps, compared)
    _print_way(config, steps, compared, console)
    if measure:
        specs = {
            'the seed': task.seed.spec,
            **{
                path.stem: load_spec(path.with_suffix('.json'))
                for path in networks.values()
            },
        }
        measured_us = zip(specs, measure(list(specs.values())))
        told = ', '.join(f'{name} {ms(us)}' for name, us in measured_us)
        console.print(f'measured in turns on this machine: {told}')
    for name, path in networks.items():
        console.print(f'{name}: {path} is the config, {path.stem}.pth the weights')
    console.print(f'plot: {picture}')
    found = task.work_dir / 'found.py'
    if plan.train_final:
        for path in networks.values():
            value = train_final(path, plan.train_final)
            console.print(
                f'{path.stem}, trained by its whole schedule ({plan.train_final}): '
                f'{metric_name(config)} {value:.4g} on the validation set'
            )
    else:
        following = next_commands(
            ('train', found), _export_command(found, table.execution)
        )
        console.print(*following, sep='\n', soft_wrap=True)
    return steps


def _export_command(config: Path, execution: Execution) -> list[object]:
    """Writes the file that was priced."""
    name = BACKENDS[execution.backend] or 'pytorch'
    out = config.with_suffix(FORMATS[name].suffixes[0])
    precision = execution.precision
    told = ['--precision', precision] if precision != 'fp32' else []
    weights = config.with_suffix('.pth')
    return ['export', config, weights, '--format', name, *told, '--out', out]


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
