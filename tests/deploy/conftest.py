"""Every case is built once in a process, and exported once in a run."""

import shutil
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path
from types import SimpleNamespace

import cv2
import numpy as np
import pytest
import torch
from filelock import FileLock
from torch import nn

from mmnv3.deploy import export as export_module
from mmnv3.deploy.export import FORMATS, describe_graph, export_graph
from mmnv3.deploy.graph import ExportGraph, build_graph
from mmnv3.deploy.info import ModelInfo
from mmnv3.deploy.runtime import PyTorchRuntime, Runtime, load_runtime
from tests.deploy.cases import CASES, random_model, skip_without

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope='session')
def exported(shared_folder: Path) -> Iterator[SimpleNamespace]:
    """What tests run, by the name of a case.

    `model`, `graph` and `info`; `file` and `runtime` by format as well. All but the
    model take ``inside``, whether boxes and classes are chosen in the graph. `export`
    is :func:`export_graph`, but copies the file of a case whose graph it gets.
    """
    folder = shared_folder / 'exported'
    folder.mkdir(exist_ok=True)

    @cache
    def model(case: str) -> nn.Module:
        return random_model(CASES[case])

    @_cache
    def graph(case: str, inside: bool) -> ExportGraph:
        return build_graph(model(case), CASES[case].size, postprocess=inside)

    @_cache
    def info(case: str, inside: bool) -> ModelInfo:
        return describe_graph(graph(case, inside=inside), model(case))

    @_cache
    def file(case: str, kind: str, inside: bool) -> Path:
        skip_without(kind)
        name = f'{case}-inside' if inside else case
        path = folder / f'{name}{FORMATS[kind].suffixes[0]}'
        with FileLock(f'{path}.lock'):
            if not path.exists():
                made, its_info = (get(case, inside=inside) for get in (graph, info))
                export_graph(made, its_info, path, kind)
        return path

    @_cache
    def runtime(case: str, kind: str, inside: bool) -> Runtime:
        if kind == 'module':
            made, its_info = (get(case, inside=inside) for get in (graph, info))
            return PyTorchRuntime(made, its_info, threads=1)
        return load_runtime(file(case, kind, inside=inside), threads=1)

    def export(made: ExportGraph, its_info: ModelInfo, out: Path, kind: str) -> None:
        inside = getattr(made, 'postprocess', False)
        for case in CASES if isinstance(made, ExportGraph) else ():
            if (
                CASES[case].size == made.size
                and _equal(graph(case, inside=inside), made)
                and info(case, inside=inside) == its_info
            ):
                out.parent.mkdir(parents=True, exist_ok=True)
                for suffix in FORMATS[kind].suffixes:
                    path = file(case, kind, inside=inside).with_suffix(suffix)
                    shutil.copy(path, out.with_suffix(suffix))
                return
        export_graph(made, its_info, out, kind)

    with pytest.MonkeyPatch.context() as patch:
        # Every format starts from the same program, unless that has sizes which only
        # a run tells: PyTorch takes those apart once.
        trace, traced = export_module._trace, cache(export_module._trace)
        patch.setattr(
            export_module,
            '_trace',
            lambda made: (trace if getattr(made, 'postprocess', 0) else traced)(made),
        )
        yield SimpleNamespace(
            model=model,
            graph=graph,
            info=info,
            file=file,
            runtime=runtime,
            export=export,
        )


def _cache(make: Callable) -> Callable:
    """Makes each once; ``inside`` is asked for by name, and False without."""
    made = cache(make)
    return lambda *args, inside=False: made(*args, inside)


def _equal(first: ExportGraph, second: ExportGraph) -> bool:
    """Whether two graphs are the same modules with the same numbers."""
    ours, theirs = first.state_dict(), second.state_dict()
    return (
        repr(first) == repr(second)
        and first.batch == second.batch
        and ours.keys() == theirs.keys()
        and all(ours[name].dtype == theirs[name].dtype for name in ours)
        and all(torch.equal(ours[name], theirs[name]) for name in ours)
    )


@pytest.fixture(scope='session')
def photos() -> list[np.ndarray]:
    """The demo photos, BGR."""
    for folder in (ROOT / 'data/photos', ROOT / '../shared/data/photos'):
        if paths := sorted(folder.glob('*.jpg')):
            return [cv2.resize(cv2.imread(str(path)), (640, 480)) for path in paths]
    pytest.skip('data/photos is absent')
