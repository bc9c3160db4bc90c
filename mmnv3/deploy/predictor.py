"""Pictures in, boxes, masks or classes out."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from functools import partial
from itertools import chain, islice
from pathlib import Path
from queue import SimpleQueue
from typing import Any, TypeVar

import numpy as np
import torch

from mmnv3.cpu import usable_cores
from mmnv3.deploy.info import ModelInfo
from mmnv3.deploy.pipeline import Pipeline
from mmnv3.deploy.progress import Skipped, progress_line
from mmnv3.deploy.results import Result
from mmnv3.deploy.sources import open_source
from mmnv3.errors import UserError
from mmnv3.pictures import as_picture, decode_picture, list_files, read_picture
from mmnv3.resizing import picture_size
from mmnv3.size import Size

K = TypeVar('K')
T = TypeVar('T')
R = TypeVar('R')
Picture = str | Path | bytes | np.ndarray

# Jobs in flight for each thread: one that it does and one that waits for it.
AHEAD = 2
# Pipelines that there may be at once, on however few cores.
_LEAST_PLACES = 4


class Predictor:
    """Runs a model on pictures, from any number of threads at once.

    It starts at the first picture. A config that runs on another backend than PyTorch
    is exported then, and the file kept in the user's cache folder
    (:mod:`mmnv3.deploy.cache`). An exported file needs none of the toolboxes.

    A segmenter whose config tests pictures at their own size keeps every picture's in
    PyTorch; elsewhere it is exported for the size of the first picture, others are
    stretched to it, and the mask comes back in the picture's own.

    Args:
        model: An exported file (``.onnx``, ``.xml``, ``.tflite``, ``.pte``, ``.pt2``),
            or a config.
        checkpoint: The config's weights; random ones, with a warning, for None.
        backend: ``'pytorch'``, ``'compile'``, ``'onnxruntime'``, ``'openvino'``,
            ``'litert'`` or ``'executorch'``; None is ``'pytorch'`` for a config, and
            for a file its own.
        threads: Cores to use; the runtime's own number for None, and all of them on a
            folder.
        precision: ``'fp32'``, ``'bf16'``, ``'fp16'`` or ``'int8'``
            (:data:`mmnv3.deploy.info.PRECISIONS`), or ``'auto'``: the fastest of those
            that the backend has, and without a backend of all that are installed, which
            are timed at the first picture and remembered. None is single precision, or
            what an exported file is in.
        calibration: Folder of some 100 to 200 pictures like those that a config's model
            will see, which ``'int8'`` needs; ``'auto'`` tries it only then.
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
        precision: str | None = None,
        calibration: str | Path | None = None,
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
            precision=precision,
            calibration=calibration,
            size=size,
            batch=batch,
            options=options,
        )
        self._source = open_source(**self._settings)
        self._picture_size: Size | None = None
        # A pipeline is for one thread at a time, so that there are as many as threads
        # that call at once, up to the cores.
        self._lock = threading.Lock()
        self._places = threading.Semaphore(
            1 if self._source.one_at_a_time else max(usable_cores(), _LEAST_PLACES)
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
            pictures: A file, the bytes of one, an array (see
                :func:`mmnv3.pictures.as_picture`), a list of such, or a folder.
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
        if isinstance(pictures, Sequence) and not isinstance(pictures, (str, bytes)):
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
        pictures: Iterable[Picture],
        progress: bool | None = None,
        use: Callable[[Any, np.ndarray, Result], Any] | None = None,
    ) -> Iterator[tuple[Any, Any]]:
        """Predicts many pictures on all cores; only few are in memory at a time.

        Those that cannot be read are left out, and a warning at the end counts them.

        Args:
            pictures: Files and arrays. Any iterator will do, which is asked for the
                next picture when there is room for it.
            progress: Whether to show a progress bar; None does on a terminal.
            use: Takes key, picture and result, in a thread of its own, and returns
                what comes out instead of the result.

        Yields:
            Keys and results, in order. A file's key is its path, an array's its place
            among the pictures, from 0.

        Raises:
            UserError: When none of the pictures can be read.
        """
        total = len(pictures) if isinstance(pictures, Sequence) else None
        skipped = Skipped()
        with progress_line(total, progress) as line:
            for key, outcome in self.outcomes(_with_keys(pictures), use):
                line.advance()
                if skipped.take(outcome):
                    continue
                yield key, outcome
        skipped.tell()

    def outcomes(
        self,
        pictures: Iterable[tuple[K, Picture | UserError]],
        use: Callable[[K, np.ndarray, Result], Any] | None = None,
        ahead: int = AHEAD,
    ) -> Generator[tuple[K, Any], None, None]:
        """What becomes of pictures; see :meth:`stream`, which tells what was skipped.

        Args:
            pictures: Keys and pictures; an error stands for one that cannot be read.
            use: See :meth:`stream`.
            ahead: How many calls of the network may wait or be done at once, for each
                core.

        Yields:
            Keys, and what became of each: a result, what ``use`` returned, or the
            error that says why it cannot be read.
        """
        pictures = iter(pictures)
        for key, picture in pictures:
            first = _read_or_error(picture)
            if isinstance(first, np.ndarray):
                break
            yield key, first
        else:
            return
        with self._pipeline(first) as pipeline:
            batch = pipeline.info.batch
        chunks = _chunks(chain([(key, first)], pictures), batch)
        cores = self.threads or usable_cores()
        # Where there are few, not all cores need a model.
        few = list(islice(chunks, cores))
        workers = 1 if self._source.one_at_a_time else len(few)
        idle: SimpleQueue[Pipeline] = SimpleQueue()
        for _ in range(workers):
            idle.put(self._start(cores if workers == 1 else 1))
        job = partial(_predict_chunk, idle, use or _only_result)
        for found in _in_threads(job, chain(few, chunks), workers, ahead):
            yield from found

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


def _read(picture: Picture) -> np.ndarray:
    """A picture from wherever it is, (H, W, 3) uint8 BGR."""
    if isinstance(picture, (str, Path)):
        return read_picture(picture)
    if isinstance(picture, bytes):
        return decode_picture(picture)
    if isinstance(picture, np.ndarray):
        return as_picture(picture)
    raise UserError(
        'a picture is a file, its bytes or a NumPy array, and this is a '
        f'{type(picture).__name__}'
    )


def _read_or_error(picture: Picture | UserError) -> np.ndarray | UserError:
    if isinstance(picture, UserError):
        return picture
    try:
        return _read(picture)
    except UserError as error:
        return error


def _with_keys(pictures: Iterable[Picture]) -> Iterator[tuple[Any, Picture]]:
    for number, picture in enumerate(pictures):
        yield Path(picture) if isinstance(picture, (str, Path)) else number, picture


def _chunks(items: Iterator[T], size: int) -> Iterator[list[T]]:
    while chunk := list(islice(items, size)):
        yield chunk


def _predict_chunk(
    idle: SimpleQueue[Pipeline],
    use: Callable[[K, np.ndarray, Result], Any],
    chunk: list[tuple[K, Picture | UserError]],
) -> list[tuple[K, Any]]:
    """Predicts a chunk by an idle pipeline; errors stand for unreadable pictures."""
    pictures = [_read_or_error(picture) for _, picture in chunk]
    pipeline = idle.get()
    try:
        found = iter(pipeline([p for p in pictures if isinstance(p, np.ndarray)]))
    finally:
        idle.put(pipeline)
    return [
        (key, use(key, p, next(found)) if isinstance(p, np.ndarray) else p)
        for (key, _), p in zip(chunk, pictures)
    ]


def _only_result(key: Any, picture: np.ndarray, result: Result) -> Result:
    return result


def _in_threads(
    job: Callable[[T], R], items: Iterable[T], workers: int, ahead: int
) -> Iterator[R]:
    """Does a job on every item, in threads.

    PyTorch uses one thread inside each.

    Args:
        job: What is done; an error ends the stream.
        items: What it is done on. The next is asked for when there is room for it and
            the results that are ready have been taken.
        workers: Threads.
        ahead: Items for each thread that are begun before their results are taken.

    Yields:
        What it returns, in the order of the items.
    """
    before = torch.get_num_threads()
    pool = ThreadPoolExecutor(
        workers, 'mmnv3', initializer=torch.set_num_threads, initargs=(1,)
    )
    pending: deque[Future[R]] = deque()
    try:
        for item in items:
            pending.append(pool.submit(job, item))
            # An iterator may take its time for the next.
            while pending and (len(pending) == ahead * workers or pending[0].done()):
                yield pending.popleft().result()
        while pending:
            yield pending.popleft().result()
    finally:
        pool.shutdown(cancel_futures=True)
        # Parts of the number belong to the process.
        torch.set_num_threads(before)
