"""Writes the page and its figures."""

from __future__ import annotations

from pathlib import Path

from mmnv3.errors import UserError
from mmnv3.files import whole_or_absent
from studies.paper.page import render_page
from studies.paper.plots import FIGURES, draw_frontier


def write_page(path: Path) -> list[Path]:
    """Writes the page, and the figures that it shows beside it.

    Args:
        path: Of the page, which appears whole or not at all, after its figures.

    Returns:
        The files that were written.

    Raises:
        UserError: When a file cannot be written there.
    """
    text = render_page()
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        figures = [draw_frontier(figure, path.parent) for figure in FIGURES]
        with whole_or_absent(path) as partial:
            partial.write_text(text, encoding='utf-8')
    except OSError as error:
        raise UserError(f'{path} cannot be written: {error.strerror}') from error
    return [path, *figures]
