"""Every case is built once in a process, and exported once in a run."""

from functools import cache
from pathlib import Path
from types import SimpleNamespace

import cv2
import numpy as np
import pytest
from filelock import FileLock
from torch import nn

from mmnv3.deploy.export import FORMATS, describe_graph, export_graph
from mmnv3.deploy.graph import ExportGraph, build_graph
from mmnv3.deploy.info import ModelInfo
from mmnv3.deploy.runtime import PyTorchRuntime, Runtime, load_runtime
from tests.deploy.cases import CASES, random_model

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope='session')
def exported(shared_folder: Path) -> SimpleNamespace:
    """`model`, `graph` and `info` of a case, and its `file` and `runtime` by format."""
    folder = shared_folder / 'exported'
    folder.mkdir(exist_ok=True)

    @cache
    def model(case: str) -> nn.Module:
        return random_model(CASES[case])

    @cache
    def graph(case: str) -> ExportGraph:
        return build_graph(model(case), CASES[case].size)

    @cache
    def info(case: str) -> ModelInfo:
        return describe_graph(graph(case), model(case))

    @cache
    def file(case: str, kind: str) -> Path:
        if kind == 'litert':
            pytest.importorskip('litert_torch', reason='litert-torch is not installed')
        path = folder / f'{case}{FORMATS[kind].suffixes[0]}'
        with FileLock(f'{path}.lock'):
            if not path.exists():
                export_graph(graph(case), info(case), path, kind)
        return path

    @cache
    def runtime(case: str, kind: str) -> Runtime:
        if kind == 'module':
            return PyTorchRuntime(graph(case), info(case), threads=1)
        return load_runtime(file(case, kind), threads=1)

    return SimpleNamespace(
        model=model, graph=graph, info=info, file=file, runtime=runtime
    )


@pytest.fixture(scope='session')
def photos() -> list[np.ndarray]:
    """The demo photos, BGR."""
    for folder in (ROOT / 'data/photos', ROOT / '../shared/data/photos'):
        if paths := sorted(folder.glob('*.jpg')):
            return [cv2.resize(cv2.imread(str(path)), (640, 480)) for path in paths]
    pytest.skip('data/photos is absent')
