"""A platform-aware search for the network of a config, from start to plot."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, field, replace
from itertools import count
from pathlib import Path

from mmengine.config import Config
from rich.console import Console

from mmnv3.engine.screen import next_commands
from mmnv3.search.configs import (
    Budget,
    beside_config,
    schedule_length,
    with_sampled_spec,
)
from mmnv3.search.folder import Folder, identify
from mmnv3.search.latency.measuring import counting_bar, search_table
from mmnv3.search.latency.price import config_price
from mmnv3.search.latency.table import Execution, LatencyTable
from mmnv3.search.nas.finalists import choose_finalists, train_finalists
from mmnv3.search.nas.outputs import print_samples, sample_line, write_results
from mmnv3.search.nas.pricing import complete_table
from mmnv3.search.nas.proxies import ELASTIC, PROXIES, ElasticProxy, ScratchProxy
from mmnv3.search.nas.reward import Reward
from mmnv3.search.nas.search import (
    NASearch,
    NASSettings,
    Sample,
    best,
    check_target,
    pareto,
)
from mmnv3.search.nas.space import Space, get_space
from mmnv3.search.target import Price, ms
from mmnv3.search.trial import metric_name


@dataclass(frozen=True)
class NASPlan:
    """What is searched, besides :class:`NASSettings`.

    Args:
        space: A name of :data:`mmnv3.search.nas.space.SPACES`.
        table: A latency table; for None the one that is kept of this machine. What it
            lacks for the space is measured and added, unless it is of another machine.
        budget: The training of every network, or of the elastic one.
        work_dir: Where everything is kept.
        proxy: One of :data:`mmnv3.search.nas.proxies.PROXIES`.
        ray: None, or what :func:`mmnv3.search.pool.run_jobs` takes.
        size: (width, height) of the picture that is priced; the config's own for None.
        execution: How the networks of the table that is kept are run.
        trainings: Where networks are trained; ``trainings`` in ``work_dir`` for None.
            An elastic network that lies there already serves another target too.
        finalists: How many of the best are trained by the config's whole schedule in
            the end; the best of them is what was found.
    """

    space: str
    table: Path | None
    budget: Budget
    work_dir: Path
    proxy: str = ELASTIC
    ray: str | None = None
    size: tuple[int, int] | None = None
    execution: Execution = field(default_factory=Execution)
    trainings: Path | None = None
    finalists: int = 0


def search_config(
    config: Config, settings: NASSettings, plan: NASPlan, console: Console
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
    target_us = settings.reward.target_us
    table, path = search_table(plan.table, plan.execution)
    price = _open_price(config, space, table, path, plan.size, console)
    fastest_us, slowest_us = check_target(space, price, target_us)
    console.print(
        f'{space.size:.1e} settings of the space {space.name!r}, from '
        f'{ms(fastest_us).removesuffix(" ms")} to {ms(slowest_us)}; '
        f'target {ms(target_us)}'
    )

    def report(sample: Sample) -> None:
        console.print(sample_line(sample, settings.samples), highlight=False)

    conditions = dict(
        budget=asdict(plan.budget),
        proxy=plan.proxy,
        # Two prices tell one table, and one size of picture, from another.
        latency_us=dict(fastest=round(fastest_us, 1), slowest=round(slowest_us, 1)),
        **identify(config, table),
    )
    with Folder(plan.work_dir).alone():
        proxy = PROXIES[plan.proxy](
            config,
            space,
            plan.budget,
            plan.trainings or plan.work_dir / 'trainings',
            plan.ray,
        )
        search = NASearch(
            space,
            price,
            proxy,
            settings,
            plan.work_dir,
            conditions,
            report,
        )
        if search.samples:
            console.print(f'going on after {len(search.samples)} samples')
        if isinstance(proxy, ElasticProxy):
            _train_elastic(proxy, console)
        samples = search.run()
        print_samples('Pareto set', space, pareto(samples), best(samples), console)
        top = _best_finalist(config, space, samples, settings.reward, plan, console)
        metric = metric_name(config)
        found, plot = write_results(
            space, samples, top, target_us, metric, plan.work_dir
        )
        # The network by its file, so that the config can be read again.
        spec = space.decode(top.tokens)
        written = with_sampled_spec(config, spec, beside_config(found.name))
        with Folder(plan.work_dir).writing('best_config.py') as partial:
            partial.write_text(written.dump(), encoding='utf-8')
        path = plan.work_dir / 'best_config.py'
        console.print(f'best network: {found}\nits config: {path}\nplot: {plot}')
        console.print(*next_commands(('train', path)), sep='\n', soft_wrap=True)
        return samples


def _train_elastic(proxy: ElasticProxy, console: Console) -> None:
    with counting_bar(console, 'elastic network') as show:
        proxy.train(lambda done: show(done, proxy.budget.iterations))


def _best_finalist(
    config: Config,
    space: Space,
    samples: Sequence[Sample],
    reward: Reward,
    plan: NASPlan,
    console: Console,
) -> Sample:
    """The sample that comes out best when the best are trained to the end."""
    if not plan.finalists:
        return best(samples)
    budget = replace(plan.budget, iterations=schedule_length(config))
    train = ScratchProxy(
        config, space, budget, plan.work_dir / 'finalists_logs', plan.ray
    )
    chosen = choose_finalists(samples, plan.finalists)
    done = count(1)
    with counting_bar(console, 'finalists, by the whole schedule') as show:
        found = train_finalists(
            space,
            chosen,
            reward,
            train,
            Folder(plan.work_dir),
            lambda sample: show(next(done), len(chosen)),
        )
    top = best(found)
    print_samples('Finalists, trained to the end', space, found, top, console)
    return samples[top.index]


def _open_price(
    config: Config,
    space: Space,
    table: LatencyTable,
    path: Path,
    size: tuple[int, int] | None,
    console: Console,
) -> Price:
    """Measures what the table lacks first."""
    price = config_price(config, table, size, other_blocks=True)
    with counting_bar(console, f'layers that {path.name} lacks') as show:
        complete_table(config, price, path, space, show)
    return price
