"""Predicts files and folders, draws and writes what is found."""

from __future__ import annotations

import json
import os
import warnings
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import numpy as np

from mmnv3.deploy.drawing import draw
from mmnv3.deploy.predictor import Predictor
from mmnv3.deploy.results import Classification, Detections, Result, Segmentation
from mmnv3.errors import Remark, UserError
from mmnv3.files import whole_or_absent
from mmnv3.pictures import list_files, writable_name, write_picture
from mmnv3.tasks import DETECTION

# So many pictures get a line each.
_FEW = 20


def predict_files(
    predictor: Predictor,
    sources: Sequence[str | Path],
    out: str | Path | None = None,
    json_file: str | Path | None = None,
    threshold: float = 0.3,
    tell: Callable[[str], None] = print,
) -> int:
    """Predicts all pictures of files and folders.

    Args:
        predictor: The model.
        sources: Files, and folders with their subfolders.
        out: Folder to draw into, under the pictures' names and in their trees.
        json_file: File to write results to: a list of ``file``, ``size`` (width,
            height) and ``found``, see :func:`as_json`; an item a line, without the
            list, where its name ends in ``.jsonl``.
        threshold: Detections that score more are drawn, written and told.
        tell: Takes a line about a picture, where there are at most 20.

    Returns:
        How many pictures were predicted.

    Raises:
        UserError: When there is nothing to predict, or when something cannot be
            written.
    """
    places = collect(sources)
    if out is not None:
        check_targets(places, Path(out), predictor.files)

    def use(file: Path, picture: np.ndarray, result: Result) -> tuple[str, dict, float]:
        found = above(result, threshold)
        line = f'{file}: {in_words(found)}'
        if out is not None:
            target = Path(out) / places[file]
            palette = predictor.info.palette
            write_picture(target, draw(picture, found, palette, threshold))
            line += f' → {target}'
        score = _best_score(result)
        if json_file is None:
            return line, {}, score
        size = picture.shape[1], picture.shape[0]
        row = dict(file=str(file), size=size, found=as_json(found))
        return line, row, score

    count, best = 0, 0.0
    progress = None if len(places) > _FEW else False
    with _json_writer(json_file) as write:
        for _, (line, row, score) in predictor.stream(list(places), progress, use):
            count += 1
            best = max(best, score)
            if len(places) <= _FEW:
                tell(line)
            write(row)
    if predictor.info.task == DETECTION and best <= threshold:
        warnings.warn(
            f'nothing scores more than {threshold:g} in any picture, the best '
            f'{best:.2g}; take a lower threshold, or weights that are trained for such '
            'pictures',
            Remark,
            stacklevel=2,
        )
    return count


def _best_score(result: Result) -> float:
    """The highest score of a picture's detections; 0 where there are none."""
    if not isinstance(result, Detections):
        return 0.0
    return float(result.scores.max(initial=0))


@contextmanager
def _json_writer(path: str | Path | None) -> Iterator[Callable[[dict], None]]:
    """Writes rows as they come, so that memory does not grow with them.

    Args:
        path: The file, which appears when all is written: a list, or where it ends in
            ``.jsonl`` a row in each line. None writes nothing.

    Yields:
        What takes a row.
    """
    if path is None:
        yield lambda row: None
        return
    lines = Path(path).suffix == '.jsonl'
    begin, between, end = ('', '\n', '\n') if lines else ('[\n', ',\n', '\n]\n')
    try:
        with whole_or_absent(path) as partial, partial.open('w', encoding='utf-8') as f:
            separator = begin

            def write(row: dict) -> None:
                nonlocal separator
                f.write(separator + json.dumps(row, ensure_ascii=False))
                separator = between

            yield write
            f.write((begin if separator == begin else '') + end)
    except OSError as error:
        if error.filename not in (None, str(path)):
            raise
        raise UserError(f'{path} cannot be written ({error.strerror})') from None


def collect(sources: Iterable[str | Path]) -> dict[Path, Path]:
    """The files of files and folders, and where each stands under an output folder.

    Args:
        sources: Files, which keep their names, and folders, whose trees are kept.

    Returns:
        Relative paths by file. They differ: of two the second gets a number.

    Raises:
        UserError: When there is no such file, or a folder is empty.
    """
    places: dict[Path, Path] = {}
    taken: set[Path] = set()
    for given in sources:
        if not str(given).strip():
            raise UserError('the name of a picture is empty; name a file or a folder')
        source = Path(given)
        if not os.path.exists(source):
            raise UserError(f'{source}: there is no such file or folder')
        if not source.is_dir() and not source.is_file():
            raise UserError(f'{source} is a pipe or a device; name a file or a folder')
        files = list_files(source) if source.is_dir() else [source]
        if not files:
            raise UserError(f'{source}: the folder is empty')
        for file in files:
            if file in places:
                continue
            place = wanted = (
                writable_name(file.relative_to(source))
                if source.is_dir()
                else writable_name(file.name)
            )
            number = 1
            while place in taken:
                number += 1
                place = wanted.with_stem(f'{wanted.stem}_{number}')
            taken.add(place)
            places[file] = place
    return places


def check_targets(
    places: dict[Path, Path], out: Path, model_files: Iterable[Path] = ()
) -> None:
    """Checks that nothing that is read would be overwritten by what is drawn.

    Args:
        places: What :func:`collect` returns.
        out: The output folder.
        model_files: The model's files.

    Raises:
        UserError: When one would.
    """
    files = {file.resolve() for file in places}
    others = {file.resolve() for file in model_files}
    for place in places.values():
        if (out / place).resolve() in others:
            raise UserError(f'{out / place} is the model; draw into another folder')
        if (out / place).resolve() in files:
            raise UserError(
                f'{out / place} is one of the pictures; draw into another folder'
            )


def above(result: Result, threshold: float) -> Result:
    """A result without detections that score no more than a threshold."""
    if not isinstance(result, Detections):
        return result
    kept = result.scores > threshold
    return Detections(
        result.boxes[kept], result.scores[kept], result.labels[kept], result.classes
    )


def in_words(result: Result) -> str:
    """A result in a line, as ``'12 RBC, 1 WBC'``."""
    return _WORDS[type(result)](result)


def as_json(result: Result) -> list[dict]:
    """A result as lists and numbers.

    Returns:
        Of a detector ``class``, ``score`` and ``box`` (x1 y1 x2 y2 in pixels) of every
        object; of a classifier ``class`` and ``score`` of the best; of a segmenter
        ``class`` and ``share`` of the picture's pixels. All are rounded.
    """
    return _JSON[type(result)](result)


def _count(result: Detections) -> str:
    counts = Counter(result.labels.tolist()).most_common()
    found = [f'{count} {result.classes[label]}' for label, count in counts]
    return ', '.join(found) or 'nothing'


def _shares(result: Segmentation) -> list[tuple[str, float]]:
    counts = np.bincount(result.mask.ravel(), minlength=1) / result.mask.size
    order = np.argsort(-counts)
    return [(result.classes[n], float(counts[n])) for n in order if counts[n]]


def _ranks(result: Classification) -> list[tuple[str, float]]:
    ranked = zip(result.labels, result.scores)
    return [(result.classes[label], float(score)) for label, score in ranked]


_WORDS = {
    Detections: _count,
    Segmentation: lambda result: _percent(_shares(result)),
    Classification: lambda result: _percent(_ranks(result)[:3]),
}
_JSON = {
    Detections: lambda result: [
        {
            'class': result.classes[label],
            'score': _rounded(score, 4),
            'box': [_rounded(side, 2) for side in box],
        }
        for box, score, label in zip(result.boxes, result.scores, result.labels)
    ],
    Segmentation: lambda result: [
        {'class': name, 'share': _rounded(share, 4)} for name, share in _shares(result)
    ],
    Classification: lambda result: [
        {'class': name, 'score': _rounded(score, 4)} for name, score in _ranks(result)
    ],
}


def _rounded(number: float, digits: int) -> float:
    return round(float(number), digits)


def _percent(parts: Sequence[tuple[str, float]]) -> str:
    return ', '.join(f'{name} {share:.0%}' for name, share in parts)
