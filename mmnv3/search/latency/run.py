"""What ``tools/latency_table.py`` does: builds networks, measures, and says so."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TimeRemainingColumn

from mmnv3.errors import UserError
from mmnv3.search.latency import timing
from mmnv3.search.latency.building import measure_layers, measure_networks, open_table
from mmnv3.search.latency.check import check_table, plot_checks
from mmnv3.search.latency.grid import search_grid
from mmnv3.search.latency.seeds import Seed, random_variants
from mmnv3.search.latency.table import LatencyTable
from mmnv3.search.latency.tracing import layers_of

# Networks that tell how layers add up, and their random sequence, which is none that
# anyone checks a table by.
_VARIANTS, _VARIANTS_SEED = 8, 1_000_003


def measure(
    configs: Sequence[str],
    backend: str,
    out: Path,
    size: tuple[int, int] | None = None,
    threads: int = 1,
    runs: int | None = None,
    grid: bool = True,
) -> LatencyTable:
    """Measures the layers of configs, and those that a search may make of them.

    Args:
        configs: Paths of configs.
        backend: Name of :data:`mmnv3.deploy.runtime.BACKENDS`.
        out: Table to write, or to go on with.
        size: Pixels of the picture, (width, height); each config's own for None.
        threads: Threads of one call.
        runs: Measured calls of each layer.
        grid: Whether layers of other widths are measured as well.

    Raises:
        UserError: For what does not exist, does not fit, or is not installed.
    """
    _check_positive('--runs', runs)
    table = open_table(out, backend, threads)
    seeds = [Seed.read(config, size) for config in configs]
    layers = [layer for seed in seeds for layer in layers_of(seed.model, seed.size)]
    layers = search_grid(layers) if grid else layers
    columns = '{task.description}', BarColumn(), MofNCompleteColumn()
    with Progress(*columns, TimeRemainingColumn(), console=Console(stderr=True)) as bar:
        task = bar.add_task(f'layers by {backend}', total=None)
        measured = measure_layers(
            table,
            layers,
            out,
            runs or timing.RUNS,
            lambda done, total: bar.update(task, completed=done, total=total),
        )
        bar.update(task, total=measured, completed=measured)
    for seed in seeds:
        # Random ones have layers of any width, which only a grid prices.
        others = random_variants(seed, _VARIANTS, _VARIANTS_SEED) if grid else []
        measure_networks(table, [seed.model, *others], seed.size, out, runs)
    print(f'{out}: {len(table.layers)} layers, {measured} of them measured now')
    return table


def check(
    configs: Sequence[str],
    path: Path,
    size: tuple[int, int] | None = None,
    specs: int = 20,
    seed: int = 0,
    runs: int | None = None,
    plot: Path | None = None,
) -> None:
    """Sets predicted against measured latency of random variants of configs.

    Args:
        configs: Paths of configs.
        path: The table.
        size: Pixels of the picture, (width, height); each config's own for None.
        specs: Networks for each config.
        seed: Of the random networks.
        runs: Measured calls of each network.
        plot: File of a plot, if wanted.

    Raises:
        UserError: For what does not exist, does not fit, or is not installed.
    """
    _check_positive('--runs', runs)
    if specs < 2:
        raise UserError(f'--specs {specs} must be at least 2')
    if plot and plot.suffix not in ('.png', '.svg', '.pdf'):
        raise UserError(f'--plot {plot}: end it in .png, .svg or .pdf')
    table = LatencyTable.load(path)
    checks = {}
    for config in configs:
        found = check_table(table, Seed.read(config, size), specs, seed, runs)
        name = f'{Path(config).stem} by {table.backend}'
        checks[name] = found
        print(f'{name}: {found.line}')
    if plot:
        plot_checks(checks, plot)
        print(plot)


def _check_positive(name: str, number: int | None) -> None:
    if number is not None and number < 1:
        raise UserError(f'{name} {number} must be a positive number')
