"""What a search has tried so far, and how it is kept."""

from __future__ import annotations

import io
import json
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path

import torch

from mmnv3.errors import UserError
from mmnv3.files import whole_or_absent

STATE = 'state.pt'
HISTORY = 'history.jsonl'


@dataclass(frozen=True)
class Sample:
    """A network that the controller drew.

    Args:
        index: Its place in the search, from 0.
        tokens: Its choices.
        latency: Microseconds.
        accuracy: 0 to 1; None where it has none.
        reward: What it is worth; None where it has no accuracy.
        problem: Why it has none.
    """

    index: int
    tokens: tuple[int, ...]
    latency: float
    accuracy: float | None = None
    reward: float | None = None
    problem: str | None = None


def pareto(samples: Iterable[Sample]) -> list[Sample]:
    """The samples that no other beats in both latency and accuracy.

    Returns:
        By latency; of equals the first. Accuracy rises with it.
    """
    front: list[Sample] = []
    finite = [sample for sample in samples if sample.accuracy is not None]
    for sample in sorted(finite, key=lambda s: (s.latency, -s.accuracy, s.index)):
        if not front or sample.accuracy > front[-1].accuracy:
            front.append(sample)
    return front


def best(samples: Iterable[Sample]) -> Sample:
    """The sample of the highest reward; of equals the first.

    Raises:
        UserError: When none has a reward.
    """
    rewarded = [sample for sample in samples if sample.reward is not None]
    if not rewarded:
        raise UserError('no sample has a reward yet; take more --samples')
    return max(rewarded, key=lambda sample: (sample.reward, -sample.index))


class Folder:
    """The files of a search.

    ``state.pt`` has everything up to the last whole batch. ``history.jsonl`` gets a
    line as soon as a network is evaluated, so that a killed batch loses only the
    evaluation that was under way.

    Args:
        path: The folder; made where it is missing.

    Raises:
        UserError: When it cannot be made.
    """

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)
        with writing(self.path):
            self.path.mkdir(parents=True, exist_ok=True)

    def save(self, state: dict) -> None:
        """Writes the state, whole or not at all.

        Raises:
            UserError: When the disk is full or read-only. The earlier state stays.
        """
        # torch's own writer hides what is wrong with a disk.
        buffer = io.BytesIO()
        torch.save(state, buffer)
        with (
            writing(self.path / STATE),
            whole_or_absent(self.path / STATE) as partial,
        ):
            partial.write_bytes(buffer.getvalue())

    def load(self) -> dict | None:
        """Reads the state; None where there is none.

        Raises:
            UserError: When it is damaged.
        """
        path = self.path / STATE
        if not path.exists():
            return None
        try:
            return torch.load(path, weights_only=True)
        except Exception as error:  # A strange file makes the unpickler raise anything.
            reason = (str(error).splitlines() or [type(error).__name__])[0]
            raise UserError(
                f'{path} is not the state of a search ({reason}); choose another '
                '--work-dir'
            ) from None

    def append(self, sample: Sample) -> None:
        """Adds an evaluated network to the history.

        Raises:
            UserError: When the disk is full or read-only.
        """
        path = self.path / HISTORY
        line = json.dumps(asdict(sample)) + '\n'
        with writing(path), path.open('a', encoding='utf-8') as file:
            file.write(line)

    def history(self) -> list[Sample]:
        """Reads the history; a last line that was cut off is removed."""
        path = self.path / HISTORY
        if not path.exists():
            return []
        text = path.read_text(encoding='utf-8')
        whole = text[: text.rfind('\n') + 1]
        if whole != text:
            with writing(path), whole_or_absent(path) as partial:
                partial.write_text(whole, encoding='utf-8')
        return read_samples(map(json.loads, whole.splitlines()))


def read_samples(rows: Iterable[dict]) -> list[Sample]:
    """Samples from what :func:`dataclasses.asdict` made of them."""
    return [Sample(**{**row, 'tokens': tuple(row['tokens'])}) for row in rows]


def write_samples(samples: Sequence[Sample]) -> list[dict]:
    """Samples as plain dictionaries, which a checkpoint may hold."""
    return [{**asdict(sample), 'tokens': list(sample.tokens)} for sample in samples]


@contextmanager
def writing(path: Path) -> Iterator[None]:
    """Says in one line what kept a file from being written."""
    try:
        yield
    except OSError as error:
        raise UserError(
            f'{path} cannot be written ({error.strerror or error}); make room or '
            'choose another --work-dir, and start again: what was saved stays'
        ) from None
