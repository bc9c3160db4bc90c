"""What is to be predicted, and where what is drawn of it goes."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from pathlib import Path

from mmnv3.deploy.video import CODECS, Live, is_video, video_name
from mmnv3.errors import UserError
from mmnv3.pictures import list_files, writable_name


def collect(sources: Iterable[str | Path]) -> dict[Path | Live, Path]:
    """The files of files and folders, and where each stands under an output folder.

    Args:
        sources: Files, which keep their names, folders, whose trees are kept, and
            cameras and addresses.

    Returns:
        Relative paths by file. They differ: of two the second gets a number.

    Raises:
        UserError: When there is no such file, or a folder is empty.
    """
    places: dict[Path | Live, Path] = {}
    taken: set[Path] = set()
    for given in sources:
        if not str(given).strip():
            raise UserError('the name of a picture is empty; name a file or a folder')
        live = Live.of(given)
        if live is not None:
            places[live] = unused(live.place, taken)
            continue
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
            inside = file.relative_to(source) if source.is_dir() else Path(file.name)
            write_as = video_name if is_video(file, file == source) else writable_name
            places[file] = unused(write_as(inside), taken)
    return places


def unused(wanted: Path, taken: set[Path]) -> Path:
    """A path, or where it is taken one with a number; takes it."""
    place, number = wanted, 1
    while place in taken:
        number += 1
        place = wanted.with_stem(f'{wanted.stem}_{number}')
    taken.add(place)
    return place


def check_targets(
    places: Mapping[Path | Live, Path], out: Path, model_files: Iterable[Path] = ()
) -> None:
    """Checks that nothing that is read would be overwritten by what is drawn.

    Args:
        places: What :func:`collect` returns.
        out: The output folder.
        model_files: The model's files.

    Raises:
        UserError: When one would.
    """
    files = {file.resolve() for file in places if isinstance(file, Path)}
    others = {file.resolve() for file in model_files}
    for place in places.values():
        if (out / place).resolve() in others:
            raise UserError(f'{out / place} is the model; draw into another folder')
        if (out / place).resolve() in files:
            raise UserError(
                f'{out / place} is one of the pictures; draw into another folder'
            )


def is_video_place(place: Path) -> bool:
    """Whether a place that :func:`collect` found is a video's."""
    return place.suffix.lower() in CODECS
