"""Predicted against measured latency of networks that nobody chose."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from mmnv3.benchmark.clock import pace
from mmnv3.errors import UserError
from mmnv3.files import whole_or_absent
from mmnv3.search.latency.config_models import ConfigModel, random_variants
from mmnv3.search.latency.measuring import check_runs, load_network, time_networks
from mmnv3.search.latency.table import LatencyTable
from mmnv3.search.latency.tracing import as_graph, trace
from mmnv3.size import Size


@dataclass(frozen=True)
class Check:
    """How well a table predicts.

    Args:
        predicted_us: Microseconds by the table, (networks,).
        measured_us: Microseconds of whole networks, (networks,).
        pace: What the config's own network took beside them, in proportion to what it
            took when the table was measured: how much of the errors is the machine's.
            1 where the table has no such time.
    """

    predicted_us: np.ndarray
    measured_us: np.ndarray
    pace: float = 1.0

    @property
    def errors(self) -> np.ndarray:
        """Relative errors, signed, (networks,)."""
        return self.predicted_us / self.measured_us - 1

    @property
    def median_error(self) -> float:
        """Half of the networks have an error no larger."""
        return float(np.median(np.abs(self.errors)))

    @property
    def worst_error(self) -> float:
        """The largest error."""
        return float(np.max(np.abs(self.errors)))

    @property
    def at_same_pace(self) -> Check:
        """The comparison if the machine had kept the pace that the table has."""
        return Check(self.predicted_us, self.measured_us / self.pace)

    @property
    def summary(self) -> str:
        """Its errors, for people."""
        return (
            f'median error {100 * self.median_error:.1f} %, '
            f'worst {100 * self.worst_error:.1f} %'
        )

    @property
    def line(self) -> str:
        """One line for people."""
        correlation = np.corrcoef(self.predicted_us, self.measured_us)[0, 1]
        fastest, slowest = self.measured_us.min() / 1e3, self.measured_us.max() / 1e3
        return (
            f'{len(self.measured_us)} networks, {fastest:.2f} to {slowest:.2f} ms: '
            f'{self.summary}, correlation {correlation:.3f}; the config itself takes '
            f'{self.pace:.2f} of what it took for the table, at whose pace: '
            f'{self.at_same_pace.summary}'
        )


def check_table(
    table: LatencyTable,
    config_model: ConfigModel,
    count: int = 20,
    seed: int = 0,
    runs: int | None = None,
) -> Check:
    """Measures random networks and compares.

    Args:
        table: The table.
        config_model: The network that they are variants of.
        count: How many.
        seed: Of the random sequence.
        runs: See :func:`mmnv3.search.latency.measuring.time_networks`.
    """
    size = config_model.size
    own = trace(config_model.model, size)
    predicted_us, networks = [], []
    for model in [config_model.model, *random_variants(config_model, count, seed)]:
        graph = as_graph(model, size)
        predicted_us.append(table.latency_us(*trace(graph, size)))
        networks.append(load_network(graph, table.execution))
    now_us, *measured_us = time_networks(networks, runs)
    then = table.find_network(*own)
    own_pace = pace(now_us, then.whole_us if then else None)
    return Check(np.array(predicted_us[1:]), np.array(measured_us), own_pace)


def plot_checks(checks: Mapping[str, Check], path: Path) -> None:
    """Plots predicted over measured latency.

    Args:
        checks: The comparisons by their titles.
        path: File to write, as ``.png``.
    """
    from matplotlib.figure import Figure

    figure = Figure(figsize=(4.5 * len(checks), 4.5), layout='constrained')
    for axes, (title, check) in zip(
        figure.subplots(1, len(checks), squeeze=False)[0], checks.items()
    ):
        measured, predicted = check.measured_us / 1e3, check.predicted_us / 1e3
        ends = np.array(
            [
                0.95 * min(measured.min(), predicted.min()),
                1.05 * max(measured.max(), predicted.max()),
            ]
        )
        axes.fill_between(ends, 0.95 * ends, 1.05 * ends, alpha=0.2, label='±5 %')
        axes.plot(ends, ends, color='grey', linewidth=1)
        axes.scatter(measured, predicted, s=18, color='black')
        axes.set_title(f'{title}\n{check.summary}', fontsize=9)
        axes.set_xlabel('measured, ms')
        axes.set_ylabel('predicted, ms')
        axes.legend(loc='upper left')
    with whole_or_absent(path) as partial:
        figure.savefig(partial, dpi=150, format=path.suffix[1:])


def check_configs(
    configs: Sequence[str],
    path: Path,
    size: Size | None = None,
    specs: int = 20,
    seed: int = 0,
    runs: int | None = None,
    plot: Path | None = None,
) -> None:
    """Sets predicted against measured latency of random variants of configs.

    Args:
        configs: Paths of configs.
        path: The table.
        size: Pixels of the picture; each config's own for None.
        specs: Networks for each config.
        seed: Of the random networks.
        runs: Measured calls of each network.
        plot: File of a plot, if wanted.

    Raises:
        UserError: For what does not exist, does not fit, or is not installed.
    """
    check_runs(runs)
    if specs < 2:
        raise UserError(f'--specs {specs} must be at least 2')
    if plot and plot.suffix not in ('.png', '.svg', '.pdf'):
        raise UserError(f'--plot {plot}: end it in .png, .svg or .pdf')
    table = LatencyTable.load(path)
    checks: dict[str, Check] = {}
    for config in configs:
        found = check_table(table, ConfigModel.read(config, size), specs, seed, runs)
        name = f'{Path(config).stem} by {table.execution}'
        checks[name] = found
        print(f'{name}: {found.line}')
    if plot:
        plot_checks(checks, plot)
        print(plot)
