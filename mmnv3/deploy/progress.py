"""How far a long prediction is, and what it left out."""

from __future__ import annotations

import sys
import warnings
from collections.abc import Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    ProgressColumn,
    Task,
    TimeRemainingColumn,
)
from rich.text import Text

from mmnv3.errors import Remark, UserError

# What could not be read is named, of so many; the others are counted.
_NAMED = 3


class Skipped:
    """Counts what cannot be read, in flat memory."""

    def __init__(self) -> None:
        self._named: list[str] = []
        self._count = 0
        self._total = 0

    def take(self, outcome: object) -> bool:
        """Counts a picture; true where it is an error and hence left out."""
        self._total += 1
        if not isinstance(outcome, UserError):
            return False
        self._count += 1
        if len(self._named) < _NAMED:
            self._named.append(str(outcome))
        return True

    def tell(self) -> None:
        """Says in a remark what was left out.

        Raises:
            UserError: When it is everything.
        """
        if not self._count:
            return
        more = '; …' if self._count > len(self._named) else ''
        told = (
            f'{self._count} of {self._total} files skipped: '
            f'{"; ".join(self._named)}{more}'
        )
        if self._count == self._total:
            raise UserError(told)
        warnings.warn(told, Remark, stacklevel=3)


class ProgressLine:
    """A line on a terminal, or nothing where none is shown."""

    def __init__(self, progress: Progress | None, total: int | None) -> None:
        self._progress = progress
        self._task = None if progress is None else progress.add_task('', total=total)

    def advance(self) -> None:
        """One more is done."""
        if self._progress is not None and self._task is not None:
            self._progress.advance(self._task)

    def expect(self, more: int) -> None:
        """There are so many more, as a video that was opened announces."""
        if self._progress is not None and self._task is not None:
            total = self._progress.tasks[self._task].total
            if total is not None:
                self._progress.update(self._task, total=total + more)


class _Speed(ProgressColumn):
    """Pictures a second, of the last half minute."""

    def render(self, task: Task) -> Text:
        speed = task.finished_speed or task.speed
        return Text('' if speed is None else f'{speed:.1f} fps')


@contextmanager
def progress_line(total: int | None, shown: bool | None) -> Iterator[ProgressLine]:
    """A progress line on standard error, with the pictures a second.

    Args:
        total: How many there are; None where nobody knows.
        shown: Whether to show it; None does on a terminal.

    Yields:
        What is told of every picture.
    """
    if not (sys.stderr.isatty() if shown is None else shown):
        yield ProgressLine(None, total)
        return
    with Progress(
        BarColumn(),
        MofNCompleteColumn(),
        _Speed(),
        TimeRemainingColumn(),
        console=Console(stderr=True),
        # What is printed into a file or pipe stays there.
        redirect_stdout=sys.stdout.isatty(),
    ) as progress:
        yield ProgressLine(progress, total)
