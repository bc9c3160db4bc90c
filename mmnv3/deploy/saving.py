"""Where predictions go: names of files, and results as JSON and in words."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path

import cv2
import numpy as np

from mmnv3.deploy.results import Classification, Detections, Result, Segmentation
from mmnv3.errors import UserError
from mmnv3.pictures import list_files


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
    for source in map(Path, sources):
        if not source.exists():
            raise UserError(f'{source}: there is no such file or folder')
        files = list_files(source) if source.is_dir() else [source]
        if not files:
            raise UserError(f'{source}: the folder is empty')
        for file in files:
            if file in places:
                continue
            place = wanted = (
                _writable(file.relative_to(source))
                if source.is_dir()
                else _writable(Path(file.name))
            )
            number = 1
            while place in taken:
                number += 1
                place = wanted.with_stem(f'{wanted.stem}_{number}')
            taken.add(place)
            places[file] = place
    return places


def check_targets(places: dict[Path, Path], out: Path) -> None:
    """Checks that no picture would be overwritten by what is drawn into it.

    Args:
        places: What :func:`collect` returns.
        out: The output folder.

    Raises:
        UserError: When one would.
    """
    files = {file.resolve() for file in places}
    for place in places.values():
        if (out / place).resolve() in files:
            raise UserError(
                f'{out / place} is one of the pictures; draw into another folder'
            )


def write_picture(path: Path, picture: np.ndarray) -> None:
    """Writes a picture, (H, W, 3) uint8 BGR, and its folder.

    Raises:
        UserError: When that fails.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        _, content = cv2.imencode(path.suffix, picture)
        path.write_bytes(content)
    except OSError as error:
        raise UserError(f'{path} cannot be written ({error.strerror})') from None


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


def _writable(place: Path) -> Path:
    """A name under which a picture can be written."""
    return place if cv2.haveImageWriter(place.name) else place.with_suffix('.png')
