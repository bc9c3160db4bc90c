"""Writes the page and its figures."""

from __future__ import annotations

import os
from pathlib import Path

from mmnv3.analysis.paper.page import render_page
from mmnv3.analysis.paper.plots import FIGURES, draw_frontier
from mmnv3.errors import UserError


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
    partial = path.with_suffix(f'.{os.getpid()}.tmp')
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        figures = [draw_frontier(figure, path.parent) for figure in FIGURES]
        partial.write_text(text, encoding='utf-8')
        os.replace(partial, path)
    except OSError as error:
        raise UserError(f'{path} cannot be written: {error.strerror}') from error
    return [path, *figures]
