"""Files that are whole or absent."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def whole_or_absent(path: str | Path) -> Iterator[Path]:
    """Gives a temporary name beside a file, and renames it once it is written.

    Args:
        path: The file. Where writing fails, what was there before stays.

    Yields:
        The name to write to.
    """
    path = Path(path)
    partial = path.with_name(f'{path.name}.{os.getpid()}.tmp')
    try:
        yield partial
        os.replace(partial, path)
    finally:
        partial.unlink(missing_ok=True)
