"""Prediction by Ray Data: pictures of any place, on as many machines as there are."""

from __future__ import annotations

import csv
import json
import logging
import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, cast

import cv2
import numpy as np

from mmnv3.deploy.cache import file_stamp
from mmnv3.deploy.predictor import Predictor
from mmnv3.deploy.progress import Skipped, progress_line
from mmnv3.deploy.results import Result, Segmentation
from mmnv3.deploy.writers import above, as_json
from mmnv3.errors import UserError
from mmnv3.files import check_output, whole_or_absent
from mmnv3.optional import require
from mmnv3.pictures import fetch_picture, is_picture_name, list_files
from mmnv3.ray_cluster import HERE, connect

# Pictures that a worker takes at once: what is lost with it.
BATCH = 16
# Rows of a file of results. What is predicted and not yet in one is lost by a kill.
_ROWS = 256
# What the folder of results is of; see `_check_run`.
_RUN = 'run.json'
_FAILED = 'failed.csv'


class PredictBatch:
    """What :meth:`ray.data.Dataset.map_batches` calls: paths in, results out.

    Each worker builds one, and so loads the model once::

        dataset.map_batches(
            PredictBatch,
            fn_constructor_kwargs=dict(model='small.onnx'),
            batch_size=16,
            compute=ray.data.ActorPoolStrategy(size=2),
            num_cpus=1,
        )

    Args:
        model: See :class:`mmnv3.deploy.predictor.Predictor`, which takes all the others
            but the last, too.
        score_thr: Detections score more than this.
        **settings: Of the predictor. By default it uses one thread.
    """

    def __init__(self, model: str, score_thr: float = 0.0, **settings: Any) -> None:
        cv2.setNumThreads(1)
        self._score_thr = score_thr
        self._predict = Predictor(model, **{'threads': 1, **settings})

    def __call__(self, batch: dict[str, np.ndarray]) -> Any:
        """Predicts a batch.

        Args:
            batch: With ``'path'``, names of files or addresses that fsspec opens.

        Returns:
            A :class:`pyarrow.Table` with a row for each, as :func:`result_schema` has
            it. Of what cannot be read ``error`` says why, and the rest is empty.
        """
        rows = [self._row(str(path)) for path in batch['path']]
        return _table(rows)

    def _row(self, path: str) -> dict[str, Any]:
        try:
            picture = fetch_picture(path)
        except UserError as error:
            return dict(path=path, error=str(error))
        height, width = picture.shape[:2]
        result = cast(Result, self._predict(picture))
        return dict(
            path=path,
            width=width,
            height=height,
            found=as_json(above(result, self._score_thr)),
            mask=_mask_png(result),
        )


def _mask_png(result: Result) -> bytes | None:
    if not isinstance(result, Segmentation):
        return None
    return cv2.imencode('.png', result.mask)[1].tobytes()


def result_schema() -> Any:
    """Columns of a result.

    Returns:
        A :class:`pyarrow.Schema`: ``path``; ``error``, null where there is none;
        ``width`` and ``height`` of the picture in pixels; ``found``, a list as
        :func:`mmnv3.deploy.writers.as_json` gives it, with the fields that the task
        has; ``mask``, a segmenter's, the bytes of a PNG of class numbers.
    """
    arrow = require('pyarrow', 'ray')
    found = arrow.struct(
        {
            'class': arrow.string(),
            'score': arrow.float32(),
            'share': arrow.float32(),
            'box': arrow.list_(arrow.float32()),
        }
    )
    return arrow.schema(
        {
            'path': arrow.string(),
            'error': arrow.string(),
            'width': arrow.int32(),
            'height': arrow.int32(),
            'found': arrow.list_(found),
            'mask': arrow.binary(),
        }
    )


def _table(rows: list[dict[str, Any]]) -> Any:
    return require('pyarrow', 'ray').Table.from_pylist(rows, result_schema())


def predict_on_ray(
    sources: Sequence[str],
    out: str | Path,
    *,
    address: str = HERE,
    workers: int | None = None,
    progress: bool | None = None,
    **settings: Any,
) -> int:
    """Predicts pictures on a Ray cluster, and writes what is found as Parquet.

    A folder that has results already is gone on with: what is in it is not predicted
    again. A worker that is lost is replaced, and its batch predicted anew.

    Args:
        sources: Files, folders, addresses that fsspec opens, and ``.txt`` files with
            one of these a line. On several machines, all of them must see the files.
        out: Folder for ``part-00000.parquet`` and the following, with the columns of
            :func:`result_schema`, and ``failed.csv``, what could not be read.
        address: Of the cluster; see :func:`mmnv3.ray_cluster.connect`.
        workers: Processes, of one core each; as many as the cluster has cores for None.
        progress: Whether to show a progress bar; None does on a terminal.
        **settings: Of :class:`PredictBatch`.

    Returns:
        How many pictures were predicted now.

    Raises:
        UserError: When there are no pictures, none can be read, the folder is of
            another model or of other settings, Ray or pyarrow is not installed, or no
            cluster answers.
    """
    check_output('--out', out, [settings['model'], *sources], folder=True)
    out = Path(out)
    # Before anything starts; the workers say the rest.
    require('pyarrow', 'ray')
    Predictor(settings['model'], **_of_predictor(settings))
    _check_run(out, settings)
    paths = list(dict.fromkeys(_expand(sources)))
    known = set(_read_paths(out))
    waiting = [path for path in paths if path not in known]
    if not waiting:
        return 0
    skipped, failed, rows, done = Skipped(), [], [], 0
    number = len(list(out.glob('part-*.parquet')))
    with progress_line(len(waiting), progress) as line:
        for table in _tables(waiting, address, workers, settings):
            for row in table.to_pylist():
                line.advance()
                if skipped.take(UserError(row['error']) if row['error'] else row):
                    failed.append((row['path'], row['error']))
                else:
                    rows.append(row)
            if len(rows) >= _ROWS:
                _write(out / f'part-{number:05d}.parquet', rows)
                number, done, rows = number + 1, done + len(rows), []
        if rows:
            _write(out / f'part-{number:05d}.parquet', rows)
            done += len(rows)
    _write_failed(out / _FAILED, failed)
    skipped.tell()
    return done


def _tables(
    paths: Sequence[str], address: str, workers: int | None, settings: dict[str, Any]
) -> Iterator[Any]:
    """Tables of results, as they are done."""
    ray = connect(address)
    from ray import data

    # It tells its developers how it plans.
    logging.getLogger('ray.data').setLevel(logging.ERROR)
    context = data.DataContext.get_current()
    context.enable_progress_bars = False
    context.print_on_execution_start = False
    cores = max(1, int(ray.cluster_resources().get('CPU', 1)))
    batches = -(-len(paths) // BATCH)
    # A block for every batch, so that no more is lost with a worker. No tasks make
    # them, for which the workers would leave no core.
    items = [{'path': path} for path in paths]
    blocks = data.from_items(items, override_num_blocks=batches)
    results = blocks.map_batches(
        PredictBatch,
        fn_constructor_kwargs=settings,
        batch_size=BATCH,
        compute=data.ActorPoolStrategy(size=min(workers or cores, batches)),
        num_cpus=1,
    )
    yield from results.iter_batches(batch_size=None, batch_format='pyarrow')


def _of_predictor(settings: dict[str, Any]) -> dict[str, Any]:
    return {k: v for k, v in settings.items() if k not in ('model', 'score_thr')}


def _expand(sources: Sequence[str]) -> Iterator[str]:
    """Files and addresses, of folders what is in them.

    Raises:
        UserError: When a folder is empty, or an address cannot be opened.
    """
    for source in sources:
        if '://' in source:
            yield from _expand_address(source)
        elif os.path.isdir(source):
            files = list(filter(is_picture_name, list_files(source)))
            if not files:
                raise UserError(f'{source} has no pictures')
            yield from (str(file.resolve()) for file in files)
        elif source.endswith('.txt'):
            lines = Path(source).read_text(encoding='utf-8').splitlines()
            yield from _expand([line.strip() for line in lines if line.strip()])
        else:
            yield os.path.abspath(source)


def _expand_address(source: str) -> Iterator[str]:
    """An address itself, or what is in it where it is a folder."""
    fsspec = require('fsspec', 'ray')
    if is_picture_name(source):
        yield source
        return
    try:
        system, path = fsspec.core.url_to_fs(source)
        found = sorted(system.find(path)) if system.isdir(path) else [path]
    except Exception as error:  # Every file system has exceptions of its own.
        raise UserError(f'{source} cannot be opened ({error})') from None
    names = list(filter(is_picture_name, found))
    if not names:
        raise UserError(f'{source} has no pictures')
    yield from (system.unstrip_protocol(name) for name in names)


def _check_run(out: Path, settings: dict[str, Any]) -> None:
    """Refuses a folder whose results are of another model or of other settings."""
    files = {
        key: file_stamp(value)
        for key, value in settings.items()
        if isinstance(value, str) and Path(value).is_file()
    }
    mine = json.loads(json.dumps(dict(settings=settings, files=files), default=str))
    path = out / _RUN
    if path.is_file():
        try:
            there = json.loads(path.read_text(encoding='utf-8'))
        except ValueError:
            raise UserError(f'{path} is damaged; name another folder') from None
        if there != mine:
            raise UserError(
                f'{out} has results of another model or of other settings ({path.name} '
                'says which); name another folder'
            )
        return
    with whole_or_absent(path) as partial:
        partial.write_text(json.dumps(mine, indent=1), encoding='utf-8')


def _read_paths(out: Path) -> Iterator[str]:
    """Paths of what has been predicted."""
    parquet = require('pyarrow.parquet', 'ray')
    for part in sorted(out.glob('part-*.parquet')):
        try:
            yield from parquet.read_table(part, columns=['path'])['path'].to_pylist()
        except (OSError, ValueError, KeyError) as error:
            raise UserError(
                f'{part} cannot be read ({error}); remove it, and its pictures are '
                'predicted again'
            ) from None


def _write(path: Path, rows: list[dict[str, Any]]) -> None:
    parquet = require('pyarrow.parquet', 'ray')
    with whole_or_absent(path) as partial:
        parquet.write_table(_table(rows), partial)


def _write_failed(path: Path, failed: list[tuple[str, str]]) -> None:
    if not failed:
        path.unlink(missing_ok=True)
        return
    with whole_or_absent(path) as partial, partial.open('w', newline='') as file:
        writer = csv.writer(file)
        writer.writerow(('path', 'error'))
        writer.writerows(failed)
