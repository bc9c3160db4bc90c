"""What is set against what, and which points a plot joins."""

from __future__ import annotations

from studies.latency.study import Contrast, Entry
from studies.paper.tables import Table


def rows_against(*couples: tuple[str, str]) -> tuple[Contrast, ...]:
    """Contrasts of rows that have one label each."""
    return tuple(
        Contrast(f'{new} against {old}', (new,), (old,)) for new, old in couples
    )


def second_label(rows: Table, new: str, old: str) -> tuple[Contrast, ...]:
    """Contrasts of the same row under two second labels."""
    return tuple(
        Contrast(
            f'{row.labels[0]}: {new} against {old}',
            (*row.labels, new),
            (*row.labels, old),
        )
        for row in rows.rows
    )


def step_by_step(steps: tuple[Entry, ...]) -> tuple[Contrast, ...]:
    """Contrasts of every step with the one before, and of the last with the first."""
    couples = [*zip(steps[1:], steps), (steps[-1], steps[0])]
    return tuple(
        Contrast(
            f'{new.labels[0]} against {old.labels[0]}: '
            + ('all steps' if new is steps[-1] and old is steps[0] else new.labels[1]),
            new.labels,
            old.labels,
        )
        for new, old in couples
    )


def by_first_word(labels: tuple[str, ...]) -> tuple[str, str]:
    """V3, V2, V1, or MnasNet."""
    start = labels[0].partition(' ')[0].partition('-')[0].rstrip('†')
    return 'MnasNet' if start.startswith('Mnas') else start, labels[0]


def by_second_label(labels: tuple[str, ...]) -> tuple[str, str]:
    """The second label; the first, without V3-Large and brackets, names the point."""
    return labels[1], labels[0].rpartition('(')[2].rstrip(')')


def by_picture(labels: tuple[str, ...]) -> tuple[str, str]:
    """Full or half, of Table 8."""
    backbone, stride, picture = labels
    return f'{picture} picture', f'{backbone}, {stride}'
