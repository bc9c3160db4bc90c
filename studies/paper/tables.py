"""What a table of the paper prints, as data."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

from studies.paper.networks import Cost, Network, cost

UNITS = {'M': 1e6, 'B': 1e9}

# Deviations beyond it want a reason.
TOLERANCE = 0.01


@dataclass(frozen=True)
class Reason:
    """Why a print is not what its network counts.

    Args:
        text: A sentence or two.
        recount: Counts the network as the reason assumes that the paper did; None
            where the reason assumes nothing that can be counted.
    """

    text: str
    recount: Callable[[Network], Cost] | None = None


@dataclass(frozen=True)
class Row:
    """One network of a table.

    Args:
        labels: What the first columns say.
        network: What to build; None for networks that this package does not have.
        measured: Accuracies and latencies, as printed.
        params: Millions of parameters as printed; empty where none are.
        madds: Multiply-adds as printed, in the unit of the table.
        why_params: The reason of a deviation of the parameters.
        why_madds: The reason of a deviation of the multiply-adds.
    """

    labels: tuple[str, ...]
    network: Network | None
    measured: tuple[str, ...]
    params: str = ''
    madds: str = ''
    why_params: Reason | None = None
    why_madds: Reason | None = None


@dataclass(frozen=True)
class Table:
    """A table of the paper.

    Args:
        title: Its number, and what it is about.
        about: What to know before reading it.
        labels: Headers of the first columns.
        measured: Headers of what was measured, with units.
        rows: Its rows.
        unit: Of the multiply-adds, ``'M'`` or ``'B'``.
        with_norm: Whether its parameters include batch normalisation.
        source: Who printed it.
    """

    title: str
    about: str
    labels: tuple[str, ...]
    measured: tuple[str, ...]
    rows: tuple[Row, ...]
    unit: str = 'M'
    with_norm: bool = True
    source: str = 'paper'


@dataclass(frozen=True)
class Comparison:
    """A printed count and ours.

    Args:
        kind: ``'params'`` or ``'MAdds'``.
        printed: As printed; empty where nothing is.
        unit: How many make one of the print.
        ours: What the network counts; None without a network.
        why: The reason of a deviation.
        recounted: What the reason's assumption counts.
    """

    kind: str
    printed: str
    unit: float
    ours: int | None
    why: Reason | None
    recounted: int | None

    @property
    def digits(self) -> int:
        """Digits after the point: those of the print, or two."""
        return len(self.printed.partition('.')[2]) if self.printed else 2

    @property
    def deviation(self) -> float | None:
        """Ours against the print, as a fraction; None where either is missing."""
        if self.ours is None or not self.printed:
            return None
        return self.ours / (float(self.printed) * self.unit) - 1

    @property
    def wants_reason(self) -> bool:
        """Whether the deviation is beyond :data:`TOLERANCE`."""
        return self.deviation is not None and abs(self.deviation) > TOLERANCE


def compare(table: Table, row: Row) -> Iterator[Comparison]:
    """Counts a row's network and sets it beside the print: parameters, then MAdds."""
    found = row.network and cost(row.network)
    for kind, printed, unit, why, read in (
        ('params', row.params, UNITS['M'], row.why_params, _params_of(table)),
        ('MAdds', row.madds, UNITS[table.unit], row.why_madds, _madds),
    ):
        recounts = why and why.recount
        yield Comparison(
            kind,
            printed,
            unit,
            ours=read(found) if found else None,
            why=why,
            recounted=read(why.recount(row.network)) if recounts else None,
        )


def _params_of(table: Table) -> Callable[[Cost], int]:
    if table.with_norm:
        return lambda found: found.params
    return lambda found: found.params - found.norm_params


def _madds(found: Cost) -> int:
    return found.madds
