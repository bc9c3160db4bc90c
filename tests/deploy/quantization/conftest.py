"""Small networks are quantised once."""

from functools import cache
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from filelock import FileLock

from mmnv3.deploy.export import FORMATS
from mmnv3.deploy.quantization import quantize
from mmnv3.deploy.runtime import Runtime, load_runtime
from tests.deploy.cases import normalised


@pytest.fixture(scope='session')
def quantized(exported, photos, shared_folder: Path) -> SimpleNamespace:
    """`batches` of a case, and its 8-bit `file` and `runtime` by format."""
    folder = shared_folder / 'quantized'
    folder.mkdir(exist_ok=True)

    @cache
    def batches(case: str) -> list[np.ndarray]:
        return [normalised(photo, exported.info(case)) for photo in photos]

    @cache
    def file(case: str, kind: str) -> Path:
        if kind == 'openvino':
            pytest.importorskip('nncf', reason='nncf is not installed')
        path = folder / f'{case}{FORMATS[kind].suffixes[0]}'
        with FileLock(f'{path}.lock'):
            if not path.exists():
                quantize(kind, exported.file(case, kind), path, batches(case))
        return path

    @cache
    def runtime(case: str, kind: str) -> Runtime:
        return load_runtime(file(case, kind), threads=1)

    return SimpleNamespace(batches=batches, file=file, runtime=runtime)
