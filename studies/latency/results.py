"""What was measured, and the file that keeps it."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from mmnv3.benchmark.clock import Summary
from mmnv3.errors import UserError
from mmnv3.files import whole_or_absent
from studies.latency.study import Study


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
