"""What was measured, and the file that keeps it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from mmnv3.benchmark.clock import Summary
from mmnv3.errors import UserError
from studies.latency.studies import Study
from studies.page import writing


@dataclass(frozen=True)
class Timed:
    """A network that was timed.

    Attributes:
        labels: Those of its entry.
        params: Parameters.
        madds: Multiply-adds with weights, of one picture.
        ms: Milliseconds of one picture, by backend; some may not run it.
    """

    labels: tuple[str, ...]
    params: int
    madds: int
    ms: dict[str, Summary]


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

    def median_ms(self, backend: str) -> list[float | None]:
        """A backend's medians; None for networks that it did not run."""
        return [
            timed.ms[backend].p50 if backend in timed.ms else None
            for timed in self.networks
        ]

    def madds(self) -> list[float]:
        """Multiply-adds of the networks."""
        return [float(timed.madds) for timed in self.networks]

    def widest_spread(self, backend: str) -> float:
        """The widest spread of a backend's networks; see ``Summary.spread``."""
        return max(t.ms[backend].spread for t in self.networks if backend in t.ms)


def read_results(path: Path) -> dict[str, Measured]:
    """Reads what :func:`write_results` wrote: measured studies by key.

    Raises:
        UserError: When there is no such file, or when it is something else.
    """
    try:
        studies = json.loads(path.read_text(encoding='utf-8'))['studies']
        return {key: Measured.from_dict(found) for key, found in studies.items()}
    except OSError as error:
        raise UserError(
            f'{path} cannot be read ({error.strerror}); measure first, without --from'
        ) from None
    except (ValueError, KeyError, TypeError, AttributeError):
        raise UserError(
            f'{path} holds no measured latencies; tools/latency_study.py writes '
            'such files'
        ) from None


def write_results(results: Mapping[str, Measured], path: Path) -> None:
    """Writes everything; the file appears whole or not at all.

    Raises:
        UserError: When it cannot be written there.
    """
    studies = {key: asdict(measured) for key, measured in results.items()}
    text = json.dumps({'studies': studies}, indent=1, ensure_ascii=False)
    with writing(path) as partial:
        partial.write_text(text + '\n', encoding='utf-8')
