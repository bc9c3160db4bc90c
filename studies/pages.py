"""How the studies write: Markdown that reads as text too, and files that are whole."""

from __future__ import annotations

import textwrap
from collections.abc import Mapping, Sequence
from pathlib import Path

from matplotlib.figure import Figure

from mmnv3.errors import UserError
from mmnv3.files import whole_or_absent
from studies.plots import save_figure

# What is not printed, or was not measured.
DASH = '–'
_WIDTH = 88


def wrap_text(text: str, mark: str = '') -> str:
    """Breaks a paragraph, or an item of a list that begins with its mark."""
    wrapped = textwrap.fill(
        mark + text,
        _WIDTH,
        subsequent_indent=' ' * len(mark),
        break_on_hyphens=False,
        break_long_words=False,
    )
    return f'{wrapped}\n'


def markdown_table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A table whose columns are as wide as their widest cell, to read as text too."""
    widths = [max(map(len, column)) for column in zip(header, *rows)]
    rule = ['-' * width for width in widths]
    lines = (
        '| ' + ' | '.join(cell.ljust(width) for cell, width in zip(line, widths)) + ' |'
        for line in (header, rule, *rows)
    )
    return '\n'.join(lines) + '\n'


def picture(title: str, file: str) -> str:
    """A figure that stands beside the page."""
    return f'![{title}]({file})\n'


def write_page(path: Path, text: str, figures: Mapping[str, Figure]) -> list[Path]:
    """Writes a page, and the figures that it shows beside it.

    Args:
        path: Of the page, which appears whole or not at all, after its figures.
        text: What it says.
        figures: By their file names.

    Returns:
        The files that were written.

    Raises:
        UserError: When a file cannot be written there.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        for name, figure in figures.items():
            save_figure(figure, path.parent / name)
        with whole_or_absent(path) as partial:
            partial.write_text(text, encoding='utf-8')
    except OSError as error:
        raise UserError(f'{path} cannot be written: {error.strerror}') from error
    return [path, *(path.parent / name for name in figures)]
