"""A folder of pictures for each class."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from mmnv3.datasets.layouts.samples import (
    ANNOTATIONS,
    OwnData,
    Sample,
    list_pictures,
    part_of,
    picture_size,
)
from mmnv3.errors import UserError
from mmnv3.tasks import CLASSIFICATION

# Of so many pictures the sizes are looked at.
_SIZES = 1000


def read_folders(root: Path) -> OwnData | None:
    """Reads a folder for each class, in the folder itself or in its train/ and val/.

    Raises:
        UserError: When validation has a class that training has not, or when there is
            one class.
    """
    places = {'train': root}
    parts = {part_of([path.name]): path for path in _subfolders(root)}
    if 'train' in parts:
        places = {part: parts[part] for part in ('train', 'val') if part in parts}
    folders = {
        part: {path.name: list_pictures(path) for path in _subfolders(place)}
        for part, place in places.items()
    }
    classes = tuple(sorted(name for name, found in folders['train'].items() if found))
    if not classes:
        return None
    if len(classes) < 2:
        raise UserError(
            f'{places["train"]} has pictures of one class, {classes[0]}; a classifier '
            'needs two folders at least'
        )
    strange = [name for name, found in folders.get('val', {}).items() if found]
    if strange := sorted(set(strange) - set(classes)):
        raise UserError(
            f'{places["val"] / strange[0]} is of a class that {places["train"]} has '
            'not; add pictures to train on, or remove it'
        )
    total = sum(map(len, folders['train'].values()))
    step = max(1, total // _SIZES)
    samples = {
        part: tuple(
            Sample(
                path=path,
                size=None if index % step else picture_size(path),
                labels=np.array([label]),
            )
            for label, name in enumerate(classes)
            for index, path in enumerate(found.get(name, []))
        )
        for part, found in folders.items()
    }
    val = samples.get('val', ())
    # Folders are numbered as they come: a list tells where some are missing.
    alike = all(sorted(found) == list(classes) for found in folders.values())
    return OwnData(
        root=root,
        task=CLASSIFICATION,
        layout='a folder for each class',
        classes=classes,
        train=samples['train'],
        val=val,
        dataset=dict(type='mmnv3.CheckedCustomDataset'),
        parts={
            part: dict(data_prefix=place.relative_to(root).as_posix())
            for part, place in places.items()
        }
        if val and alike
        else None,
    )


def _subfolders(folder: Path) -> list[Path]:
    return sorted(
        path
        for path in folder.iterdir()
        if path.is_dir() and path.name != ANNOTATIONS and not path.name.startswith('.')
    )
