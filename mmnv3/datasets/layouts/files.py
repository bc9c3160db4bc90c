"""A validation set where there is none, and the files that a config then reads."""

from __future__ import annotations

import json
import random
from collections import defaultdict
from dataclasses import replace
from pathlib import Path

from mmnv3.datasets.layouts.coco import coco_text
from mmnv3.datasets.layouts.samples import (
    ANNOTATIONS,
    OwnData,
    Sample,
    group_by_content,
)
from mmnv3.errors import UserError
from mmnv3.files import whole_or_absent
from mmnv3.tasks import CLASSIFICATION, DETECTION

# The part that is held out.
_FRACTION = 0.2


def split_off(data: OwnData, seed: int = 0) -> OwnData:
    """Takes a fifth of the pictures to validate on, where there are none for that.

    Pictures whose files are the same stay together. Of a classifier's pictures it is a
    fifth of each class.

    Args:
        data: The data; pictures stay where they are.
        seed: Of the choice.

    Raises:
        UserError: When there are too few pictures.
    """
    if data.val:
        return data
    by_class = data.task == CLASSIFICATION
    strata: dict[int, list[list[Sample]]] = defaultdict(list)
    for group in group_by_content(data.train):
        strata[int(group[0].labels[0]) if by_class else 0].append(group)
    rng = random.Random(seed)
    chosen: set[Path] = set()
    for groups in strata.values():
        wanted = round(_FRACTION * sum(map(len, groups)))
        wanted = wanted if by_class else max(1, wanted)
        # The last one stays to be trained on.
        for group in rng.sample(groups, len(groups))[:-1]:
            if wanted <= 0:
                break
            chosen.update(sample.path for sample in group)
            wanted -= len(group)
    if not chosen:
        raise UserError(
            f'{data.root} has {len(data.train)} pictures, too few to hold some out to '
            'validate on; add some'
        )
    return replace(
        data,
        train=tuple(s for s in data.train if s.path not in chosen),
        val=tuple(s for s in data.train if s.path in chosen),
        parts=None,
    )


def file_texts(data: OwnData) -> dict[str, str]:
    """The files that a config needs besides those of the data, by their names."""
    if data.parts is not None:
        return {}
    found = {}
    for part, samples in (('train', data.train), ('val', data.val)):
        if data.task == DETECTION:
            content = coco_text(samples, data.classes, data.root)
            found[f'{part}.json'] = json.dumps(content) + '\n'
        else:
            lines = [_line(data, sample) + '\n' for sample in samples]
            found[f'{part}.txt'] = ''.join(lines)
    return found


def _line(data: OwnData, sample: Sample) -> str:
    """What a list says of a picture, as the toolbox reads it."""
    if data.task == CLASSIFICATION:
        return f'{sample.path.relative_to(data.root).as_posix()} {sample.labels[0]}'
    folder = data.root / data.dataset['data_prefix']['img_path']
    name = sample.path.relative_to(folder).as_posix()
    return name.removesuffix(data.dataset['img_suffix'])


def dataset_settings(
    data: OwnData, part: str, folder: str = ANNOTATIONS
) -> dict[str, object]:
    """What a config says of a data set, without classes and pipeline.

    Args:
        data: The data.
        part: ``'train'`` or ``'val'``.
        folder: Where the files of :func:`file_texts` are.
    """
    if data.parts is not None:
        return {**data.dataset, **data.parts[part]}
    if data.task == DETECTION:
        own: dict[str, object] = dict(
            ann_file=f'{folder}/{part}.json', data_prefix=dict(img='')
        )
    else:
        own = dict(ann_file=f'{folder}/{part}.txt')
    return {**data.dataset, **own}


def check_files(folder: Path, texts: dict[str, str], force: bool) -> None:
    """Refuses to overwrite files of another content.

    Raises:
        UserError: Names the first.
    """
    for name, text in texts.items():
        path = folder / name
        if path.is_file() and not force and path.read_bytes() != text.encode():
            raise UserError(
                f'{path} is of other pictures or another --seed; overwrite it by '
                '--force'
            )


def write_files(folder: Path, texts: dict[str, str]) -> None:
    """Writes files, each of which appears whole or not at all."""
    for name, text in texts.items():
        with whole_or_absent(folder / name) as partial:
            partial.write_text(text, encoding='utf-8')
