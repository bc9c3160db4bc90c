"""Pictures in, boxes, masks or classes out."""

from __future__ import annotations

import os
import sys
import threading
import warnings
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from queue import SimpleQueue
from typing import Any, TypeVar

import numpy as np
import torch
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

from mmnv3.deploy.info import ModelInfo
from mmnv3.deploy.pipeline import Pipeline
from mmnv3.deploy.results import Result
from mmnv3.deploy.runtime import file_format
from mmnv3.deploy.sources import ConfigSource, FileSource, Source
from mmnv3.errors import Remark, UserError
from mmnv3.pictures import as_picture, list_files, read_picture
from mmnv3.resizing import picture_size
from mmnv3.size import Size

T = TypeVar('T')
R = TypeVar('R')
Picture = str | Path | np.ndarray

# Jobs in flight for each thread: one that it does and one that waits for it.
_AHEAD = 2
# Pipelines that there may be at once, on however few cores.
_LEAST_PLACES = 4
# Unreadable files that are named; the others are counted.
_NAMED = 3


class Predictor:
    """Runs a model on pictures, from any number of threads at once.

    It starts at the first picture. A config that runs on another backend than PyTorch
    is exported then, and the file kept in the user's cache folder
    (:mod:`mmnv3.deploy.cache`). An exported file needs none of the toolboxes.

    A segmenter whose config tests pictures at their own size keeps every picture's in
    PyTorch; elsewhere it is exported for the size of the first picture, others are
    stretched to it, and the mask comes back in the picture's own.

    Args:
        model: An exported file (``.onnx``, ``.xml``, ``.tflite``, ``.pt2``), or a
            config.
        checkpoint: The config's weights; random ones, with a warning, for None.
        backend: ``'pytorch'``, ``'compile'``, ``'onnxruntime'``, ``'openvino'`` or
            ``'litert'``; None is ``'pytorch'`` for a config, and for a file its own.
        threads: Cores to use; the runtime's own number for None, and all of them on a
            folder.
        size: Of the input, (width, height); the config's or file's own for None.
        batch: Pictures of one call of the network; the file's own, or 1.
        options: Settings of the config to override, as
            ``{'model.test_cfg.score_thr': 0.3}``.

    Raises:
        UserError: When something given is missing or does not fit together; also when
            the model is started, for what is known only then.
    """

    def __init__(
        self,
        model: str | Path,
        checkpoint: str | Path | None = None,
        backend: str | None = None,
        threads: int | None = None,
        *,
        size: tuple[int, int] | None = None,
        batch: int | None = None,
        options: dict | None = None,
    ) -> None:
        for name, number in (('threads', threads), ('batch', batch)):
            if number is not None and number < 1:
                raise UserError(f'{name}={number} must be at least 1')
        self.threads = threads
        # What makes another one; see `__reduce__`.
        self._settings: dict[str, Any] = dict(
            model=model,
            checkpoint=checkpoint,
            backend=backend,
            size=size,
            batch=batch,
            options=options,
        )
        self._source = _source(Path(model), checkpoint, backend, size, batch, options)
        self._picture_size: Size | None = None
        # A pipeline is for one thread at a time, so that there are as many as threads
        # that call at once, up to the cores.
        self._lock = threading.Lock()
        self._places = threading.Semaphore(
            1 if self._source.one_at_a_time else max(_cores(), _LEAST_PLACES)
        )
        self._idle: list[Pipeline] = []
        self._info: ModelInfo | None = None

    def __reduce__(self) -> tuple:
        """Pickles the settings; the model starts anew, at the first picture there."""
        return _from_settings, (self._settings, self.threads)

    @property
    def files(self) -> list[Path]:
        """What the model is read from: its file, or config and checkpoint."""
        given = self._settings['model'], self._settings['checkpoint']
        return [Path(file) for file in given if file is not None]

    @property
    def info(self) -> ModelInfo:
        """What the model takes and gives; starts it.

        Raises:
            UserError: When its size depends on the first picture, and there was none.
        """
        if self._info is None:
            with self._pipeline():
                pass  # Starting tells.
        assert self._info is not None
        return self._info

    def __call__(
        self,
        pictures: Picture | Sequence[Picture],
        progress: bool | None = None,
    ) -> Result | list[Result] | Iterator[tuple[Path, Result]]:
        """Predicts.

        Args:
            pictures: A file, an array (see :func:`mmnv3.pictures.as_picture`), a list
                of such, or a folder.
            progress: Whether a folder shows a progress bar; None does on a terminal.

        Returns:
            A result; of a list a list of results; of a folder an iterator over files
            and results, see :meth:`stream`.

        Raises:
            UserError: When a picture cannot be read.
        """
        if isinstance(pictures, (str, Path)) and Path(pictures).is_dir():
            files = list_files(pictures)
            if not files:
                raise UserError(f'{pictures}: the folder is empty')
            return self.stream(files, progress)
        if isinstance(pictures, Sequence) and not isinstance(pictures, str):
            return self._predict(list(map(_read, pictures)))
        return self._predict([_read(pictures)])[0]

    def prepare(self, *pictures: np.ndarray) -> np.ndarray:
        """The first stage: a batch of pictures; see :meth:`Pipeline.prepare`."""
        with self._pipeline(pictures[0]) as pipeline:
            return pipeline.prepare(*pictures)

    def run(self, batch: np.ndarray) -> dict[str, np.ndarray]:
        """The second stage: the bare network; see :meth:`Pipeline.run`."""
        with self._pipeline() as pipeline:
            # A runtime may write into the same memory again.
            return {name: part.copy() for name, part in pipeline.run(batch).items()}

    def finish(
        self, outputs: dict[str, np.ndarray], sizes: list[tuple[int, int]]
    ) -> list[Result]:
        """The third stage: results; see :meth:`Pipeline.finish`."""
        with self._pipeline() as pipeline:
            return pipeline.finish(outputs, sizes)

    def stream(
        self,
        files: Sequence[str | Path],
        progress: bool | None = None,
        use: Callable[[Path, np.ndarray, Result], Any] | None = None,
    ) -> Iterator[tuple[Path, Any]]:
        """Predicts many files on all cores; only few pictures are in memory at a time.

        Files that cannot be read are left out, and a warning at the end counts them.

        Args:
            files: The pictures' files.
            progress: Whether to show a progress bar; None does on a terminal.
            use: Takes file, picture and result, in a thread of its own, and returns
                what comes out instead of the result.

        Yields:
            Files and results, in order.

        Raises:
            UserError: When none of the files can be read.
        """
        paths = [Path(file) for file in files]
        skipped: list[UserError] = []
        with _bar(len(paths), progress) as advance:
            for outcomes in self._outcomes(paths, use or _only_result):
                for file, outcome in outcomes:
                    advance()
                    if isinstance(outcome, UserError):
                        skipped.append(outcome)
                    else:
                        yield file, outcome
        if not skipped:
            return
        named = '; '.join(map(str, skipped[:_NAMED]))
        more = '; …' if len(skipped) > _NAMED else ''
        told = f'{len(skipped)} of {len(paths)} files skipped: {named}{more}'
        if len(skipped) == len(paths):
            raise UserError(told)
        warnings.warn(told, Remark, stacklevel=2)

    def _outcomes(
        self, files: list[Path], use: Callable[[Path, np.ndarray, Result], Any]
    ) -> Iterator[list[tuple[Path, Any]]]:
        """What becomes of files, chunk by chunk; an error where one is unreadable."""
        unreadable = []
        for file in files:
            first = _read_or_error(file)
            if isinstance(first, np.ndarray):
                break
            unreadable.append((file, first))
        else:
            yield unreadable
            return
        with self._pipeline(first) as pipeline:
            batch = pipeline.info.batch
        chunks = [files[at : at + batch] for at in range(0, len(files), batch)]
        cores = self.threads or _cores()
        workers = 1 if self._source.one_at_a_time else min(cores, len(chunks))
        idle: SimpleQueue[Pipeline] = SimpleQueue()
        for _ in range(workers):
            idle.put(self._start(cores if workers == 1 else 1))
        yield from _in_threads(partial(_predict_files, idle, use), chunks, workers)

    def _predict(self, pictures: list[np.ndarray]) -> list[Result]:
        if not pictures:
            return []
        with self._pipeline(pictures[0]) as pipeline:
            return pipeline(pictures)

    @contextmanager
    def _pipeline(self, picture: np.ndarray | None = None) -> Iterator[Pipeline]:
        """A pipeline for this thread alone, started if none is idle.

        Args:
            picture: One that the model may have to know to start.
        """
        with self._places:
            try:
                pipeline = self._idle.pop()
            except IndexError:
                pipeline = self._start(self.threads, picture)
            try:
                yield pipeline
            finally:
                self._idle.append(pipeline)

    def _start(
        self, threads: int | None, picture: np.ndarray | None = None
    ) -> Pipeline:
        source = self._source
        # Not all runtimes can be loaded twice at once; and one picture is the first.
        with self._lock:
            if self._picture_size is None and picture is not None:
                self._picture_size = picture_size(picture)
            if self._picture_size is None and source.wants_size:
                raise UserError(
                    'the config tests pictures at their own size, so that the model '
                    'starts with the first one; give it, or a size'
                )
            runtime = source.start(threads, self._picture_size)
            self._info = runtime.info
        return Pipeline(runtime, source.keeps_size, source.wants_size)


def _from_settings(settings: dict[str, Any], threads: int | None) -> Predictor:
    return Predictor(threads=threads, **settings)


def _source(
    model: Path,
    checkpoint: str | Path | None,
    backend: str | None,
    size: tuple[int, int] | None,
    batch: int | None,
    options: dict | None,
) -> Source:
    if file_format(model) is None:
        return ConfigSource(str(model), checkpoint, backend, size, batch, options)
    for name, given in (('checkpoint', checkpoint), ('options', options)):
        if given:
            raise UserError(
                f'{model} is exported and takes no {name}; leave it out, or name a '
                'config'
            )
    return FileSource(model, backend, size, batch)


def _read(picture: Picture) -> np.ndarray:
    """A picture from wherever it is, (H, W, 3) uint8 BGR."""
    if isinstance(picture, (str, Path)):
        return read_picture(picture)
    if isinstance(picture, np.ndarray):
        return as_picture(picture)
    raise UserError(
        f'a picture is a file or a NumPy array, and this is a {type(picture).__name__}'
    )


def _read_or_error(file: Path) -> np.ndarray | UserError:
    try:
        return read_picture(file)
    except UserError as error:
        return error


def _predict_files(
    idle: SimpleQueue[Pipeline],
    use: Callable[[Path, np.ndarray, Result], Any],
    files: list[Path],
) -> list[tuple[Path, Any]]:
    """Predicts a chunk by an idle pipeline; errors stand for unreadable files."""
    pictures = [_read_or_error(file) for file in files]
    pipeline = idle.get()
    try:
        found = iter(pipeline([p for p in pictures if isinstance(p, np.ndarray)]))
    finally:
        idle.put(pipeline)
    return [
        (file, use(file, p, next(found)) if isinstance(p, np.ndarray) else p)
        for file, p in zip(files, pictures)
    ]


def _only_result(file: Path, picture: np.ndarray, result: Result) -> Result:
    return result


def _cores() -> int:
    """Cores that this process may use."""
    if hasattr(os, 'sched_getaffinity'):  # Not everywhere.
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


@contextmanager
def _bar(total: int, shown: bool | None) -> Iterator[Callable[[], None]]:
    """A progress bar on standard error; gives what advances it."""
    if not (sys.stderr.isatty() if shown is None else shown):
        yield lambda: None
        return
    columns = TextColumn('{task.completed}/{task.total}'), TimeRemainingColumn()
    with Progress(BarColumn(), *columns, console=Console(stderr=True)) as progress:
        task = progress.add_task('', total=total)
        yield lambda: progress.advance(task)


def _in_threads(job: Callable[[T], R], items: Iterable[T], workers: int) -> Iterator[R]:
    """Does a job on every item, in threads.

    At most two items for each thread are begun before their results are taken. PyTorch
    uses one thread inside each.

    Args:
        job: What is done; an error ends the stream.
        items: What it is done on.
        workers: Threads.

    Yields:
        What it returns, in the order of the items.
    """
    before = torch.get_num_threads()
    pool = ThreadPoolExecutor(
        workers, 'mmnv3', initializer=torch.set_num_threads, initargs=(1,)
    )
    pending: deque = deque()
    try:
        for item in items:
            if len(pending) == _AHEAD * workers:
                yield pending.popleft().result()
            pending.append(pool.submit(job, item))
        while pending:
            yield pending.popleft().result()
    finally:
        pool.shutdown(cancel_futures=True)
        # Parts of the number belong to the process.
        torch.set_num_threads(before)
