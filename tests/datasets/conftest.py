"""A place where files are kept that no path leads to."""

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from mmengine.fileio import LocalBackend, register_backend


@register_backend('mmnv3_elsewhere', force=True)
class ElsewhereBackend(LocalBackend):
    """Keeps every file under another name, as a server does."""

    def get(self, filepath: str) -> bytes:
        return super().get(f'{filepath}.stored')

    @contextmanager
    def get_local_path(self, filepath: str) -> Iterator[str]:
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / 'fetched'
            path.write_bytes(self.get(filepath))
            yield str(path)
