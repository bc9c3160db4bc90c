"""Where a predictor's runtimes come from: an exported file, or a config."""

from __future__ import annotations

import warnings
from abc import ABC, abstractmethod
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from mmnv3.deploy.info import OUTPUTS, PLAIN
from mmnv3.deploy.runtime import (
    BACKENDS,
    DamagedFile,
    Runtime,
    check_backend,
    file_format,
    load_runtime,
    run_graph,
)
from mmnv3.errors import Remark, UserError
from mmnv3.resizing import output_size
from mmnv3.size import Size
from mmnv3.tasks import DETECTION, SEGMENTATION

if TYPE_CHECKING:  # They import the toolboxes, which exported files do without.
    from mmnv3.deploy.graph import ExportGraph
    from mmnv3.deploy.info import ModelInfo


class Source(ABC):
    """Starts runtimes of one model.

    Attributes:
        keeps_size: Whether every picture goes in at its own size.
        wants_size: Whether the size of some picture has to be told.
        one_at_a_time: Whether several runtimes would be in each other's way.
    """

    keeps_size: bool = False
    wants_size: bool = False
    one_at_a_time: bool = False

    @abstractmethod
    def start(self, threads: int | None, picture_size: Size | None) -> Runtime:
        """A new runtime.

        Args:
            threads: Of one call; the runtime's own number for None.
            picture_size: Of some picture, (width, height), where it is wanted.

        Raises:
            UserError: When the model cannot be run.
        """


class FileSource(Source):
    """An exported file; see :class:`mmnv3.deploy.predictor.Predictor`."""

    def __init__(
        self,
        path: Path,
        backend: str | None,
        size: tuple[int, int] | None,
        batch: int | None,
    ) -> None:
        if not path.is_file():
            raise UserError(f'{path}: there is no such file')
        kind = file_format(path)
        if kind and backend not in (None, kind.backend):
            raise UserError(
                f'{path} is for the backend {kind.backend!r}, not {backend!r}; export '
                'the config again, or leave the backend out'
            )
        self._path, self._size, self._batch = path, size, batch

    def start(self, threads: int | None, picture_size: Size | None) -> Runtime:
        """Loads the file anew."""
        runtime = load_runtime(self._path, threads)
        info = runtime.info
        if info.task == PLAIN or info.task not in OUTPUTS:
            raise UserError(
                f'{self._path} holds a {info.task} network, which says nothing about '
                'pictures; export a whole config'
            )
        for name, asked, has in (
            ('size', self._size and Size.of(self._size), info.size),
            ('batch', self._batch, info.batch),
        ):
            if asked not in (None, has):
                raise UserError(
                    f'{self._path} is exported for a {name} of {has}, not {asked}; '
                    f'export it again, or leave the {name} out'
                )
        return runtime


def postprocesses_inside(task: str | None, format_name: str | None) -> bool:
    """Whether a config that is run at once has its best classes chosen in the graph.

    A runtime chooses a pixel's class as it goes; outside, all scores would be copied.

    Args:
        task: What the config is for.
        format_name: The format of the file that is run; None for the graph itself.
    """
    return format_name is not None and task not in (None, DETECTION)


def _try_runtime(path: Path, threads: int | None) -> Runtime:
    """Loads a file and runs it once, as some damage shows only then."""
    runtime = load_runtime(path, threads)
    runtime(np.zeros(runtime.info.input_shape, np.float32))
    return runtime


class ConfigSource(Source):
    """A config; see :class:`mmnv3.deploy.predictor.Predictor`."""

    def __init__(
        self,
        path: str,
        checkpoint: str | Path | None,
        backend: str | None,
        size: tuple[int, int] | None,
        batch: int | None,
        options: dict | None,
    ) -> None:
        # They import the toolboxes, which exported files do without.
        from mmnv3.engine.checkpoints import existing_checkpoint
        from mmnv3.engine.config import config_task, pipeline_size, read_config

        self._backend = backend or 'pytorch'
        check_backend(self._backend)
        self._config = read_config(path, options)
        self._checkpoint = (
            None if checkpoint is None else existing_checkpoint(str(checkpoint))
        )
        self._size, self._batch = size, batch or 1
        self._task = config_task(self._config)
        self._built: tuple[ExportGraph, ModelInfo] | None = None
        self.wants_size = (
            self._task == SEGMENTATION
            and not size
            and pipeline_size(self._config) is None
        )
        self.keeps_size = self.wants_size and self._backend == 'pytorch'
        # A compiled graph has its threads built in.
        self.one_at_a_time = self._backend == 'compile'
        if checkpoint is None:
            warnings.warn(
                f'{path} is run with random weights, which tell how fast it is and '
                'nothing else; name a checkpoint',
                Remark,
                stacklevel=4,
            )

    def start(self, threads: int | None, picture_size: Size | None) -> Runtime:
        """Runs the graph, which is built once, or the file that was exported once."""
        from mmnv3.engine.config import input_size, picture_steps

        size: Sequence[int] | None = self._size
        if self.wants_size and picture_size:
            size = output_size(picture_steps(self._config), picture_size)
        size = input_size(self._config, size)
        format_name = BACKENDS[self._backend]
        if format_name is None:
            return run_graph(*self._graph(size), self._backend, threads)
        from mmnv3.deploy.cache import cached_export

        export = partial(
            cached_export,
            self._config,
            self._checkpoint,
            format_name,
            size=size,
            batch=self._batch,
            postprocess=postprocesses_inside(self._task, format_name),
        )
        try:
            return _try_runtime(export(), threads)
        except DamagedFile:
            return _try_runtime(export(anew=True), threads)

    def _graph(self, size: Size) -> tuple[ExportGraph, ModelInfo]:
        from mmnv3.deploy.export import describe_graph
        from mmnv3.deploy.graph import build_graph
        from mmnv3.engine.build import build_model

        if self._built is None:
            model = build_model(self._config, checkpoint=self._checkpoint)
            graph = build_graph(model, size, self._batch)
            self._built = graph, describe_graph(graph, model)
        return self._built
