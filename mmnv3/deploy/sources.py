"""Where a predictor's runtimes come from: an exported file, or a config."""

from __future__ import annotations

import warnings
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from mmnv3.deploy.cache import cached_export, file_stamp, model_parts
from mmnv3.deploy.calibration import check_calibration
from mmnv3.deploy.fastest import AUTO, Choice, Way, choose_fastest, ways_to_try
from mmnv3.deploy.info import OUTPUTS, PLAIN
from mmnv3.deploy.runtime import (
    BACKENDS,
    DamagedFile,
    Format,
    Runtime,
    check_backend,
    check_precision,
    check_processor,
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
        wants_size: Whether the size of some picture has to be told.
        one_at_a_time: Whether several runtimes would be in each other's way.
    """

    wants_size: bool = False
    one_at_a_time: bool = False

    @property
    def keeps_size(self) -> bool:
        """Whether every picture goes in at its own size; known once it started."""
        return False

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
        precision: str | None,
    ) -> None:
        if not path.is_file():
            raise UserError(f'{path}: there is no such file')
        kind = _format(path)
        if backend not in (None, kind.backend):
            raise UserError(
                f'{path} is for the backend {kind.backend!r}, not {backend!r}; export '
                'the config again, or leave the backend out'
            )
        if precision not in (None, AUTO):
            check_backend(kind.backend, precision)
        self._path, self._size, self._batch = path, size, batch
        self._precision = precision

    def start(self, threads: int | None, picture_size: Size | None) -> Runtime:
        """Loads the file anew."""
        if self._precision == AUTO:
            self._precision = self._choose(threads).precision
        runtime = load_runtime(self._path, threads, self._precision)
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

    def _choose(self, threads: int | None) -> Choice:
        """Its own precision, or bfloat16 where it runs in that, too."""
        own = load_runtime(self._path, threads).info.precision
        backend = _format(self._path).backend
        ways = [(backend, own)]
        if (backend, 'bf16') in ways_to_try([backend], False) and own != 'bf16':
            ways.append((backend, 'bf16'))
        about = [str(self._path.resolve()), file_stamp(self._path), threads]

        def start(backend: str, precision: str) -> Runtime:
            return load_runtime(self._path, threads, precision)

        return choose_fastest(ways, start, about)


def postprocesses_inside(task: str | None, format_name: str | None) -> bool:
    """Whether a config that is run at once has its best classes chosen in the graph.

    A runtime chooses a pixel's class as it goes; outside, all scores would be copied.

    Args:
        task: What the config is for.
        format_name: The format of the file that is run; None for the graph itself.
    """
    return format_name not in (None, 'executorch') and task not in (None, DETECTION)


def _try_runtime(path: Path, threads: int | None) -> Runtime:
    """Loads a file and runs it once, as some damage shows only then."""
    runtime = load_runtime(path, threads)
    runtime.run_blank()
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
        precision: str | None,
        calibration: str | Path | None,
    ) -> None:
        # They import the toolboxes, which exported files do without.
        from mmnv3.engine.checkpoints import existing_checkpoint
        from mmnv3.engine.config import config_task, pipeline_size, read_config

        self._calibration = calibration
        self._ways = _ways(backend, precision or 'fp32', calibration)
        # Of several, what is found to be fastest once it starts.
        self._way: Way | None = self._ways[0] if len(self._ways) == 1 else None
        self._config = read_config(path, options)
        self._checkpoint = (
            None if checkpoint is None else existing_checkpoint(str(checkpoint))
        )
        self._size, self._batch = size, batch or 1
        self._task = config_task(self._config)
        self._built: dict[str, tuple[ExportGraph, ModelInfo]] = {}
        self.wants_size = (
            self._task == SEGMENTATION
            and not size
            and pipeline_size(self._config) is None
        )
        # A compiled graph has its threads built in.
        self.one_at_a_time = backend == 'compile'
        if checkpoint is None:
            warnings.warn(
                f'{path} is run with random weights, which tell how fast it is and '
                'nothing else; name a checkpoint',
                Remark,
                stacklevel=4,
            )

    @property
    def keeps_size(self) -> bool:
        """Whether every picture goes in at its own size."""
        return self.wants_size and self._way is not None and self._way[0] == 'pytorch'

    def start(self, threads: int | None, picture_size: Size | None) -> Runtime:
        """Runs the graph, which is built once, or the file that was exported once."""
        from mmnv3.engine.config import input_size, picture_steps

        asked: Sequence[int] | None = self._size
        if self.wants_size and picture_size:
            asked = output_size(picture_steps(self._config), picture_size)
        size = input_size(self._config, asked)
        start = partial(self._start, size, threads)
        if self._way is None:
            about = [*model_parts(self._config, self._checkpoint), size, threads]
            choice = choose_fastest(
                self._ways, start, [*about, self._batch, str(self._calibration)]
            )
            self._way = choice.backend, choice.precision
        return start(*self._way)

    def _start(
        self, size: Size, threads: int | None, backend: str, precision: str
    ) -> Runtime:
        format_name = BACKENDS[backend]
        if format_name is None:
            graph, info = self._graph(size, precision)
            return run_graph(
                graph, replace(info, precision=precision), backend, threads
            )
        check_processor(precision, f'backend {backend!r}')
        export = partial(
            cached_export,
            self._config,
            self._checkpoint,
            format_name,
            size=size,
            batch=self._batch,
            postprocess=postprocesses_inside(self._task, format_name),
            precision=precision,
            calibration=self._calibration if precision == 'int8' else None,
        )
        try:
            return _try_runtime(export(), threads)
        except DamagedFile:
            return _try_runtime(export(anew=True), threads)

    def _graph(self, size: Size, precision: str) -> tuple[ExportGraph, ModelInfo]:
        from mmnv3.deploy.export import describe_graph
        from mmnv3.deploy.graph import build_graph
        from mmnv3.engine.build import build_model

        if 'fp32' not in self._built:
            model = build_model(self._config, checkpoint=self._checkpoint)
            graph = build_graph(model, size, self._batch)
            self._built['fp32'] = graph, describe_graph(graph, model)
        if precision not in self._built:
            graph, info = self._built['fp32']
            made = graph.in_precision(precision), replace(info, precision=precision)
            self._built[precision] = made
        return self._built[precision]


def _ways(
    backend: str | None, precision: str, calibration: str | Path | None
) -> list[Way]:
    """The backends and precisions that are to be tried, or the one that is asked for.

    Raises:
        UserError: When there is no such, or when 8 bits lack what they are calibrated
            on.
    """
    if precision != AUTO:
        backend = backend or 'pytorch'
        check_backend(backend, precision)
        if precision == 'int8':
            check_calibration(calibration)
        return [(backend, precision)]
    if backend:
        check_backend(backend)
    # Compiling takes a minute, which is no trial.
    backends = [backend] if backend else [n for n in BACKENDS if n != 'compile']
    return ways_to_try(backends, bool(calibration))


def _format(path: Path) -> Format:
    kind = file_format(path)
    assert kind is not None  # Other files are configs.
    return kind


def open_source(
    model: str | Path,
    checkpoint: str | Path | None = None,
    backend: str | None = None,
    precision: str | None = None,
    calibration: str | Path | None = None,
    size: tuple[int, int] | None = None,
    batch: int | None = None,
    options: dict | None = None,
) -> Source:
    """Where the runtimes of a model come from; nothing is started.

    Args:
        model: An exported file, or a config.
        checkpoint: As :class:`mmnv3.deploy.predictor.Predictor` has it, and the others.
        backend: The same.
        precision: The same.
        calibration: The same.
        size: The same.
        batch: The same.
        options: The same.

    Raises:
        UserError: When something given is missing or does not fit together.
    """
    path = Path(model)
    if precision not in (None, AUTO):
        check_precision(precision)
    if file_format(path) is None:
        return ConfigSource(
            str(model),
            checkpoint,
            backend,
            size,
            batch,
            options,
            precision,
            calibration,
        )
    for name, given in (
        ('checkpoint', checkpoint),
        ('calibration', calibration),
        ('options', options),
    ):
        if given:
            raise UserError(
                f'{path} is exported and takes no {name}; leave it out, or name a '
                'config'
            )
    return FileSource(path, backend, size, batch, precision)
