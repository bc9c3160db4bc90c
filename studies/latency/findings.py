"""What follows from the numbers: proportions and rank correlations."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence

from scipy.stats import spearmanr

from studies.latency.results import Measured
from studies.latency.study import Study

# With fewer networks any order is likely.
_LEAST_NETWORKS = 3

Column = Sequence[float | None]


def median_column(measured: Measured, backend: str) -> list[float | None]:
    """A backend's medians in milliseconds, in the order of the entries."""
    return [timed.median(backend) for timed in measured.networks]


def printed_column(study: Study, index: int = 0) -> list[float | None]:
    """One of the printed columns in milliseconds, in the order of the entries."""
    return [entry.printed[index] for entry in study.entries]


def correlate(one: Column, other: Column) -> float | None:
    """Spearman's rank correlation of two columns, where both have numbers.

    Returns:
        From -1 to 1; None where fewer than three networks have both, or where one
        column has a single value.
    """
    both = [(a, b) for a, b in zip(one, other) if a is not None and b is not None]
    if len(both) < _LEAST_NETWORKS or any(len(set(side)) == 1 for side in zip(*both)):
        return None
    found = float(spearmanr(*zip(*both)).statistic)
    return None if math.isnan(found) else found


def correlations(study: Study, measured: Measured) -> dict[str, float | None]:
    """Every backend's rank correlation with the first printed column, and MAdds'."""
    printed = printed_column(study)
    found = {
        backend: correlate(median_column(measured, backend), printed)
        for backend in measured.backends
    }
    madds = [float(timed.madds) for timed in measured.networks]
    return {**found, 'MAdds': correlate(madds, printed)}


def compared(study: Study) -> int:
    """Networks of the first printed column."""
    return sum(value is not None for value in printed_column(study))


def changes(study: Study, measured: Measured) -> Iterator[tuple[str, list]]:
    """Sets networks against each other as the study's contrasts say.

    Yields:
        A contrast's text, and the new network's time over the old one's, less one: as
        printed, then by backend; None where one of them has no time.
    """
    places = {entry.labels: index for index, entry in enumerate(study.entries)}
    columns = [printed_column(study)]
    columns += [median_column(measured, backend) for backend in measured.backends]
    for contrast in study.contrasts:
        new, old = places[contrast.new], places[contrast.old]
        yield (
            contrast.text,
            [
                column[new] / column[old] - 1 if column[new] and column[old] else None
                for column in columns
            ],
        )


def spread(measured: Measured, backend: str) -> float:
    """The widest spread of a backend's networks; see ``Summary.spread``."""
    return max(t.ms[backend].spread for t in measured.networks if backend in t.ms)
