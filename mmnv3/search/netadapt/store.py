"""What a search leaves on disk, every file whole or absent.

::

    settings.json            what the search was started with
    seed/                    score.json
    step_01/                 proposals.json, proposal_03.json and .pth as they come;
                             in the end spec.json, weights.pth, winner.json
    uniform/                 width.json, spec.json, score.json and .pth of the width
                             multiplier that is compared
    frontier.json            the way so far
"""

from __future__ import annotations

import errno
import json
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from torch import Tensor

from mmnv3.engine.checkpoints import read_checkpoint, write_checkpoint
from mmnv3.errors import UserError
from mmnv3.files import whole_or_absent
from mmnv3.search.runs import Trial

SETTINGS = 'settings.json'
WINNER = 'winner.json'


@dataclass(frozen=True)
class Point:
    """A network on the way, or beside it.

    Args:
        name: What was done to get it.
        latency: Its price in microseconds.
        accuracy: Its figure on the held-out data; None where it was not trained or
            its training failed.
        problem: Why it failed.
    """

    name: str
    latency: float
    accuracy: float | None = None
    problem: str | None = None

    def __str__(self) -> str:
        """As ``block4 expand 96 → 72: 1.71 ms, 0.58``."""
        accuracy = self.problem if self.accuracy is None else f'{self.accuracy:.4g}'
        return f'{self.name}: {self.latency / 1000:.3g} ms, {accuracy}'


@dataclass(frozen=True)
class Step:
    """A finished step.

    Args:
        number: From 1.
        winner: What was chosen.
        others: What else was tried.
    """

    number: int
    winner: Point
    others: tuple[Point, ...] = field(default=(), repr=False)


def read_json(path: Path) -> Any:
    """Reads a file of :func:`write_json`; None where there is none.

    Raises:
        UserError: When it is damaged.
    """
    try:
        return json.loads(path.read_text(encoding='utf-8'))
    except FileNotFoundError:
        return None
    except ValueError as error:
        raise UserError(
            f'{path} is damaged ({error}); delete it and run the same command again'
        ) from None


def write_json(path: Path, data: Any) -> None:
    """Writes a file, whole or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with whole_or_absent(path) as partial:
        partial.write_text(json.dumps(data, indent=1) + '\n', encoding='utf-8')


def write_weights(path: Path, state: Mapping[str, Tensor]) -> None:
    """Writes a checkpoint, whole or not at all."""
    write_checkpoint(path, state)


def read_weights(path: Path) -> dict[str, Tensor]:
    """Reads a checkpoint of :func:`write_weights`."""
    return read_checkpoint(path).state


def write_point(path: Path, point: Point, trial: Trial) -> None:
    """Writes what became of a network; its weights, beside it, come first."""
    if trial.state is not None:
        write_weights(path.with_suffix('.pth'), trial.state)
    metrics, seconds = trial.metrics, round(trial.seconds, 2)
    write_json(path, dict(asdict(point), metrics=metrics, seconds=seconds))


def read_point(path: Path) -> Point | None:
    """Reads it; None where it was not tried yet."""
    data = read_json(path)
    if data is None:
        return None
    return Point(**{key: data[key] for key in Point.__dataclass_fields__})


def claim(work_dir: Path, settings: Mapping[str, Any]) -> bool:
    """Makes a folder that of a search, or finds that it is.

    Args:
        work_dir: The folder.
        settings: Whatever the outcome depends on.

    Returns:
        Whether the search continues one.

    Raises:
        UserError: When it is the folder of another search.
    """
    settings = json.loads(json.dumps(settings))
    known = read_json(work_dir / SETTINGS)
    if known is None:
        write_json(work_dir / SETTINGS, settings)
        return False
    for key in [*settings, *known]:
        if known.get(key) != settings.get(key):
            shown = [str(values.get(key)) for values in (known, settings)]
            values = (
                f' ({shown[0]}, now {shown[1]})' if max(map(len, shown)) < 40 else ''
            )
            raise UserError(
                f'{work_dir} holds a search with another {key}{values}; name another '
                '--work-dir, or repeat its command to continue it'
            )
    return True


@contextmanager
def clear_disk_errors(work_dir: Path) -> Iterator[None]:
    """Says what to do about a full disk.

    Raises:
        UserError: When there is no space left.
    """
    try:
        yield
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EDQUOT):
            raise
        raise UserError(
            f'there is no space left for {error.filename or work_dir}; free some and '
            'run the same command again: it continues where it stopped'
        ) from None


def step_dir(work_dir: Path, number: int) -> Path:
    """The folder of a step."""
    return work_dir / f'step_{number:02}'


def remove(paths: Iterator[Path]) -> None:
    """Removes files that may be gone already."""
    for path in list(paths):
        if os.path.lexists(path):
            path.unlink()
