"""What was measured, the file that keeps it, and what follows from the numbers."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from scipy.stats import spearmanr

from mmnv3.benchmark.clock import Summary
from mmnv3.errors import UserError
from mmnv3.files import whole_or_absent
from studies.latency.study import Study

# With fewer networks any order is likely.
_LEAST_NETWORKS = 3

Column = Sequence[float | None]


@dataclass(frozen=True)
class Timed:
    """A network that was timed.

    Attributes:
        labels: Those of its entry.
        params: Parameters.
        madds: Multiply-adds with weights, of one picture.
        ms: Milliseconds of one picture, by backend.
    """

    labels: tuple[str, ...]
    params: int
    madds: int
    ms: dict[str, Summary]

    def median(self, backend: str) -> float | None:
        """Milliseconds; None for a backend that did not run it."""
        return self.ms[backend].p50 if backend in self.ms else None


@dataclass(frozen=True)
class Measured:
    """A study that was measured.

    Attributes:
        machine: Of :func:`mmnv3.benchmark.machine.describe_machine`.
        date: Day, as in 2025-12-31.
        runs: Measured runs of each network.
        backends: In their order.
        notes: A line about each backend that is missing.
        networks: In the order of the study's entries.
    """

    machine: dict[str, Any]
    date: str
    runs: int
    backends: tuple[str, ...]
    notes: tuple[str, ...]
    networks: tuple[Timed, ...]

    @classmethod
    def from_dict(cls, found: dict[str, Any]) -> Measured:
        """The inverse of ``dataclasses.asdict``, from JSON."""
        networks = tuple(
            Timed(
                tuple(entry['labels']),
                entry['params'],
                entry['madds'],
                {name: Summary(**ms) for name, ms in entry['ms'].items()},
            )
            for entry in found['networks']
        )
        lists = {name: tuple(found[name]) for name in ('backends', 'notes')}
        return cls(**{**found, **lists, 'networks': networks})

    def fits(self, study: Study) -> bool:
        """Whether it is of the networks that the study has now."""
        return [timed.labels for timed in self.networks] == [
            entry.labels for entry in study.entries
        ]


@dataclass
class Results:
    """All studies that were measured, by key."""

    studies: dict[str, Measured] = field(default_factory=dict)

    @classmethod
    def read(cls, path: Path) -> Results:
        """Reads a file that :meth:`write` wrote.

        Raises:
            UserError: When there is none, or when it is something else.
        """
        try:
            found = json.loads(path.read_text(encoding='utf-8'))
            return cls(
                {
                    key: Measured.from_dict(measured)
                    for key, measured in found['studies'].items()
                }
            )
        except OSError as error:
            raise UserError(
                f'{path} cannot be read ({error.strerror}); measure first, without '
                '--from'
            ) from None
        except (ValueError, KeyError, TypeError, AttributeError):
            raise UserError(
                f'{path} holds no measured latencies; tools/latency_study.py writes '
                'such files'
            ) from None

    def write(self, path: Path) -> None:
        """Writes everything; the file appears whole or not at all.

        Raises:
            UserError: When it cannot be written there.
        """
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            with whole_or_absent(path) as partial:
                text = json.dumps(asdict(self), indent=1, ensure_ascii=False)
                partial.write_text(text + '\n', encoding='utf-8')
        except OSError as error:
            raise UserError(f'{path} cannot be written: {error.strerror}') from error


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
