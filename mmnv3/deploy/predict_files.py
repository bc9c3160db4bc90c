"""Predicts files and folders, draws and writes what is found."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np

from mmnv3.deploy.drawing import draw
from mmnv3.deploy.predictor import Predictor
from mmnv3.deploy.results import Result
from mmnv3.deploy.saving import (
    above,
    as_json,
    check_targets,
    collect,
    in_words,
    write_picture,
)
from mmnv3.errors import UserError
from mmnv3.files import whole_or_absent

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
            height) and ``found``, see :func:`mmnv3.deploy.saving.as_json`.
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
        check_targets(places, Path(out))

    def use(file: Path, picture: np.ndarray, result: Result) -> tuple[str, dict]:
        found = above(result, threshold)
        line = f'{file}: {in_words(found)}'
        if out is not None:
            target = Path(out) / places[file]
            palette = predictor.info.palette
            write_picture(target, draw(picture, found, palette, threshold))
            line += f' → {target}'
        if json_file is None:
            return line, {}
        size = picture.shape[1], picture.shape[0]
        return line, dict(file=str(file), size=size, found=as_json(found))

    rows, count = [], 0
    progress = None if len(places) > _FEW else False
    for _, (line, row) in predictor.stream(list(places), progress, use):
        count += 1
        if len(places) <= _FEW:
            tell(line)
        if json_file is not None:
            rows.append(row)
    if json_file is not None:
        _write_json(Path(json_file), rows)
    return count


def _write_json(path: Path, rows: list[dict]) -> None:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with whole_or_absent(path) as partial:
            lines = [json.dumps(row, ensure_ascii=False) for row in rows]
            partial.write_text('[\n' + ',\n'.join(lines) + '\n]\n', encoding='utf-8')
    except OSError as error:
        raise UserError(f'{path} cannot be written ({error.strerror})') from None
