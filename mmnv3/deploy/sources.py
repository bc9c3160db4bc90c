"""Where a predictor's runtimes come from: an exported file, or a config."""

from __future__ import annotations

import warnings
from abc import ABC, abstractmethod
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from mmnv3.deploy.info import DETECTION, OUTPUTS, PLAIN, SEGMENTATION
from mmnv3.deploy.runtime import Runtime, load_runtime
from mmnv3.errors import Remark, UserError

if TYPE_CHECKING:  # They import the toolboxes, which exported files do without.
    from mmengine.config import Config

    from mmnv3.deploy.graph import ExportGraph
    from mmnv3.deploy.info import ModelInfo

# Who runs files of which ending.
FILE_BACKENDS = {
    '.pt2': 'pytorch',
    '.onnx': 'onnxruntime',
    '.xml': 'openvino',
    '.tflite': 'litert',
}


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
    def start(
        self, threads: int | None, picture_size: tuple[int, int] | None
    ) -> Runtime:
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
        own = FILE_BACKENDS[path.suffix]
        if backend not in (None, own):
            raise UserError(
                f'{path} is for the backend {own!r}, not {backend!r}; export the '
                'config again, or leave the backend out'
            )
        self._path, self._size, self._batch = path, size, batch

    def start(
        self, threads: int | None, picture_size: tuple[int, int] | None
    ) -> Runtime:
        """Loads the file anew."""
        runtime = load_runtime(self._path, threads)
        info = runtime.info
        if info.task == PLAIN or info.task not in OUTPUTS:
            raise UserError(
                f'{self._path} holds a {info.task} network, which says nothing about '
                'pictures; export a whole config'
            )
        for name, asked, has in (
            ('size', self._size and tuple(self._size), info.size),
            ('batch', self._batch, info.batch),
        ):
            if asked not in (None, has):
                raise UserError(
                    f'{self._path} is exported for a {name} of {has}, not {asked}; '
                    f'export it again, or leave the {name} out'
                )
        return runtime


class ConfigSource(Source):
    """A config; see :class:`mmnv3.deploy.predictor.Predictor`."""

    def __init__(
        self,
        path: str,
        checkpoint: str | None,
        backend: str | None,
        size: tuple[int, int] | None,
        batch: int | None,
        options: dict | None,
    ) -> None:
        # They import the toolboxes, which exported files do without.
        from mmnv3.deploy.backends import BACKENDS, check_backend
        from mmnv3.engine.config import config_task, pipeline_size, read_config
        from mmnv3.engine.launch import existing_checkpoint

        self._backend = backend or 'pytorch'
        check_backend(self._backend)
        self._config: Config = read_config(path, options)
        self._checkpoint = checkpoint and existing_checkpoint(str(checkpoint))
        self._size = size and tuple(size)
        self._batch, self._options = batch or 1, options
        self._format = BACKENDS[self._backend]
        self._task = config_task(self._config)
        of_any_size = (
            self._task == SEGMENTATION
            and not size
            and pipeline_size(self._config) is None
        )
        self.wants_size = of_any_size
        self.keeps_size = of_any_size and self._backend == 'pytorch'
        # A compiled graph has its threads built in.
        self.one_at_a_time = self._backend == 'compile'
        if checkpoint is None:
            warnings.warn(
                f'{path} is run with random weights, which tell how fast it is and '
                'nothing else; name a checkpoint',
                Remark,
                stacklevel=4,
            )

    def start(
        self, threads: int | None, picture_size: tuple[int, int] | None
    ) -> Runtime:
        """Runs the graph, which is built once, or the file that was exported once."""
        if self._format is None:
            from mmnv3.deploy.backends import run_graph

            graph, info = self._graph(picture_size)
            return run_graph(graph, info, self._backend, threads)
        from mmnv3.deploy.cache import cached_export

        path = cached_export(
            self._config,
            self._checkpoint,
            self._format,
            size=picture_size if self.wants_size else self._size,
            batch=self._batch,
            options=self._options,
            # A runtime chooses a pixel's class at once; outside, all would be copied.
            postprocess=self._task not in (None, DETECTION),
        )
        return load_runtime(path, threads)

    def _graph(
        self, picture_size: tuple[int, int] | None
    ) -> tuple[ExportGraph, ModelInfo]:
        from mmnv3.deploy.graph import build_graph
        from mmnv3.deploy.loading import describe_graph
        from mmnv3.engine.config import input_size

        if self._built is None:
            size = input_size(
                self._config, picture_size if self.wants_size else self._size
            )
            graph = build_graph(self._model, size, self._batch)
            self._built = graph, describe_graph(graph, self._model)
        return self._built

    _built: tuple[ExportGraph, ModelInfo] | None = None

    @cached_property
    def _model(self) -> object:
        from mmnv3.engine.build import build_model

        return build_model(self._config.filename, self._options, self._checkpoint)
