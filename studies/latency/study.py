"""What a study is."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from studies.latency.variant import Variant


@dataclass(frozen=True)
class Entry:
    """A network of a study.

    Args:
        labels: What the first columns say.
        variant: What is timed.
        accuracy: As printed, in percent; None where nothing is.
        printed: Milliseconds as printed, by column; None where nothing is.
    """

    labels: tuple[str, ...]
    variant: Variant
    accuracy: float | None = None
    printed: tuple[float | None, ...] = ()


@dataclass(frozen=True)
class Contrast:
    """Two networks of a study, of which one is to be faster.

    Args:
        text: What is set against what.
        new: Labels of the one.
        old: Labels of the other.
    """

    text: str
    new: tuple[str, ...]
    old: tuple[str, ...]


@dataclass(frozen=True)
class Study:
    """Networks that are timed together.

    Args:
        key: What the tool calls it.
        title: What it is about.
        about: What to know before reading it.
        labels: Headers of the first columns.
        accuracy: What the printed accuracy is; empty for none.
        columns: Headers of the printed latencies, in milliseconds. Ranks are compared
            with the first.
        entries: The networks; the others are set in proportion to the first.
        contrasts: Those that are set against each other.
        family: Tells a plot the line that an entry's labels belong to, and the name of
            its point.
        share: Of the runs that are asked for; large pictures get fewer.
        apart: Whether backends follow one another in place of taking turns, since not
            all fit into memory.
    """

    key: str
    title: str
    about: str
    labels: tuple[str, ...]
    accuracy: str
    columns: tuple[str, ...]
    entries: tuple[Entry, ...]
    contrasts: tuple[Contrast, ...]
    family: Callable[[tuple[str, ...]], tuple[str, str]]
    share: float = 1.0
    apart: bool = False
