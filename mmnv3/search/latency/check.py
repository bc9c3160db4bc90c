"""Predicted against measured latency of networks that nobody chose."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from mmnv3.files import whole_or_absent
from mmnv3.search.latency.seeds import Seed, random_variants
from mmnv3.search.latency.table import LatencyTable
from mmnv3.search.latency.timing import load_network, time_networks
from mmnv3.search.latency.tracing import as_graph, layers_of


@dataclass(frozen=True)
class Check:
    """How well a table predicts.

    Args:
        predicted: Microseconds by the table, (networks,).
        measured: Microseconds of whole networks, (networks,).
        pace: What the seed took beside them, in proportion to what it took when the
            table was measured: how much of the errors is the machine's.
    """

    predicted: np.ndarray
    measured: np.ndarray
    pace: float = 1.0

    @property
    def errors(self) -> np.ndarray:
        """Relative errors, signed, (networks,)."""
        return self.predicted / self.measured - 1

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
        return Check(self.predicted, self.measured / self.pace)

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
        correlation = np.corrcoef(self.predicted, self.measured)[0, 1]
        return (
            f'{len(self.measured)} networks, '
            f'{self.measured.min() / 1e3:.2f} to {self.measured.max() / 1e3:.2f} ms: '
            f'{self.summary}, correlation {correlation:.3f}; the seed takes '
            f'{self.pace:.2f} of what it took for the table, at whose pace: '
            f'{self.at_same_pace.summary}'
        )


def check_table(
    table: LatencyTable,
    seed: Seed,
    count: int = 20,
    number: int = 0,
    runs: int | None = None,
) -> Check:
    """Measures random networks and compares.

    Args:
        table: The table.
        seed: The network that they are variants of.
        count: How many.
        number: Of the random sequence.
        runs: See :func:`mmnv3.search.latency.timing.time_networks`.
    """
    predicted, networks = [], []
    for model in [seed.model, *random_variants(seed, count, number)]:
        predicted.append(table.price_model(model, seed.size))
        graph = as_graph(model, seed.size)
        networks.append(load_network(graph, table.backend, table.threads))
    now, *measured = time_networks(networks, runs)
    rest = layers_of(seed.model, seed.size)[-1]
    then = next((net.together for net in table.networks if net.rest == rest), now)
    return Check(np.array(predicted[1:]), np.array(measured), now / then)


def plot_checks(checks: dict[str, Check], path: Path) -> None:
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
        measured, predicted = check.measured / 1e3, check.predicted / 1e3
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
    path.parent.mkdir(parents=True, exist_ok=True)
    with whole_or_absent(path) as partial:
        figure.savefig(partial, dpi=150, format=path.suffix[1:])
