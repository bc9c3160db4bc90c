"""Pages in Markdown, and the figures beside them: whole, or absent."""

from __future__ import annotations

import textwrap
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

from matplotlib.figure import Figure

from mmnv3.errors import UserError
from mmnv3.files import whole_or_absent

DASH = '–'

_LINE_LENGTH = 88


def wrap_text(text: str, mark: str = '') -> str:
    """Breaks a paragraph, or an item of a list that begins with its mark."""
    lines = textwrap.wrap(
        mark + text,
        _LINE_LENGTH,
        subsequent_indent=' ' * len(mark),
        break_on_hyphens=False,
        break_long_words=False,
    )
    return '\n'.join(lines) + '\n'


def markdown_table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A table whose columns are as wide as their widest cell, to read as text too."""
    widths = [max(map(len, column)) for column in zip(header, *rows)]
    rule = ['-' * width for width in widths]
    lines = (
        '| ' + ' | '.join(cell.ljust(width) for cell, width in zip(line, widths)) + ' |'
        for line in (header, rule, *rows)
    )
    return '\n'.join(lines) + '\n'


@contextmanager
def writing(path: Path) -> Iterator[Path]:
    """Gives the name to write a file to, whose folder is made.

    Raises:
        UserError: When the file cannot be written there.
    """
    try:
        with whole_or_absent(path) as partial:
            yield partial
    except OSError as error:
        raise UserError(f'{path} cannot be written: {error.strerror}') from error


def write_page(path: Path, text: str, figures: Mapping[str, Figure]) -> list[Path]:
    """Writes a page after its figures.

    Args:
        path: Of the page.
        text: The page.
        figures: What it shows, by the file names that stand in it.

    Returns:
        The files that were written, the page first.

    Raises:
        UserError: When a file cannot be written.
    """
    for name, figure in figures.items():
        with writing(path.parent / name) as partial:
            figure.savefig(partial, format='png')
    with writing(path) as partial:
        partial.write_text(text, encoding='utf-8')
    return [path, *(path.parent / name for name in figures)]
