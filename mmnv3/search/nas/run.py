"""A platform-aware search for the network of a config, from start to plot."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

from mmengine.config import Config
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TimeRemainingColumn

from mmnv3.engine.config import input_size
from mmnv3.files import whole_or_absent
from mmnv3.search.latency.table import LatencyTable
from mmnv3.search.nas.history import Sample, best, writing
from mmnv3.search.nas.pricing import complete_table, config_price
from mmnv3.search.nas.proxy import ProxyTrainer, config_for
from mmnv3.search.nas.report import print_pareto, sample_line, write_results
from mmnv3.search.nas.search import Price, Search, SearchSettings, check_target
from mmnv3.search.nas.space import Space, get_space
from mmnv3.search.netadapt.configs import beside_config
from mmnv3.search.runs import Budget, metric_name


@dataclass(frozen=True)
class Plan:
    """What is searched, besides :class:`SearchSettings`.

    Args:
        space: A name of :data:`mmnv3.search.nas.space.SPACES`.
        table: A latency table. What it lacks for the space is measured and added,
            unless it is of another machine.
        budget: The training of every network.
        work_dir: Where everything is kept.
        ray: None, or what :func:`mmnv3.search.pool.run_jobs` takes.
        size: (width, height) of the picture that is priced; the config's own for None.
    """

    space: str
    table: Path
    budget: Budget
    work_dir: Path
    ray: str | None = None
    size: tuple[int, int] | None = None


def search_config(
    config: Config, settings: SearchSettings, plan: Plan, console: Console
) -> list[Sample]:
    """Searches, prints how it goes and what was found, and writes it.

    Args:
        config: Its network is replaced by those of the space; its tail decides whether
            they are halved at stride 32.
        settings: What is searched for.
        plan: Where and how.
        console: Where to print.

    Returns:
        All samples.

    Raises:
        UserError: For what a person can mend; what was evaluated is kept.
    """
    space = get_space(plan.space, config.model.backbone.get('tail'))
    target = settings.reward.target
    price = _open_price(config, space, plan, console)
    fastest, slowest = check_target(space, price, target)
    console.print(
        f'{space.size:.1e} settings of the space {space.name!r}, from '
        f'{fastest / 1e3:.3g} to {slowest / 1e3:.3g} ms; target {target / 1e3:.3g} ms'
    )

    def report(sample: Sample) -> None:
        console.print(sample_line(sample, settings.samples), highlight=False)

    # Rewards by another table's prices do not belong to the same search.
    span = f'{fastest:.1f} to {slowest:.1f}'
    conditions = {**settings.conditions, 'latencies of the space (µs)': span}
    search = Search(
        space,
        price,
        ProxyTrainer(config, plan.budget, plan.work_dir / 'trainings', plan.ray),
        replace(settings, conditions=conditions),
        plan.work_dir,
        report,
    )
    if search.samples:
        console.print(f'going on after {len(search.samples)} samples')
    samples = search.run()
    metric = metric_name(config)
    found, plot = write_results(space, samples, target, metric, plan.work_dir)
    print_pareto(space, samples, console)
    # The network by its file, so that the config can be read again.
    path = plan.work_dir / 'best_config.py'
    with writing(path), whole_or_absent(path) as partial:
        spec = space.decode(best(samples).tokens)
        partial.write_text(config_for(config, spec, beside_config(found.name)).dump())
    console.print(f'best network: {found}\nits config: {path}\nplot: {plot}')
    return samples


def _open_price(config: Config, space: Space, plan: Plan, console: Console) -> Price:
    path = plan.table
    table = LatencyTable.load(path)
    size = input_size(config, plan.size)
    columns = '{task.description}', BarColumn(), MofNCompleteColumn()
    with Progress(*columns, TimeRemainingColumn(), console=console) as bar:
        task = bar.add_task(f'layers that {path.name} lacks', total=None)
        complete_table(
            config,
            table,
            path,
            space,
            size,
            lambda done, total: bar.update(task, completed=done, total=total),
        )
        bar.update(task, visible=False)
    return config_price(config, table, size)
