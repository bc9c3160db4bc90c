"""Which layouts of data are known, and which one a folder is in."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

from mmnv3.datasets.layouts.coco import read_coco_layout
from mmnv3.datasets.layouts.folders import read_folders
from mmnv3.datasets.layouts.masks import read_cityscapes, read_masks
from mmnv3.datasets.layouts.samples import OwnData
from mmnv3.datasets.layouts.voc import read_voc
from mmnv3.datasets.layouts.yolo import read_yolo
from mmnv3.errors import UserError
from mmnv3.tasks import CLASSIFICATION, DETECTION, SEGMENTATION


@dataclass(frozen=True)
class Layout:
    """A layout that is known.

    Attributes:
        signs: By what it is recognised, to tell somebody.
        read: Reads a folder; None where the signs are not there.
    """

    signs: str
    read: Callable[[Path], OwnData | None]


# By task, in the order in which they are looked for.
LAYOUTS: dict[str, tuple[Layout, ...]] = {
    DETECTION: (
        Layout(
            'COCO JSON (a .json with "images" and "categories" in the folder or in a '
            'folder of it)',
            read_coco_layout,
        ),
        Layout(
            'YOLO txt (a .txt for a picture, beside it or in labels/ for images/, and '
            'data.yaml or classes.txt with the names)',
            read_yolo,
        ),
        Layout('Pascal VOC XML (a .xml with <annotation> for a picture)', read_voc),
    ),
    SEGMENTATION: (
        Layout(
            'Cityscapes (leftImg8bit/train/**/*_leftImg8bit.png and '
            'gtFine/train/**/*_gtFine_labelTrainIds.png)',
            read_cityscapes,
        ),
        Layout(
            'images/ and masks/ with a .png of class numbers for each picture',
            read_masks,
        ),
    ),
    CLASSIFICATION: (
        Layout(
            'a folder of pictures for each class, in the folder itself or in its '
            'train/ and val/',
            read_folders,
        ),
    ),
}


def look_at(root: Path, task: str) -> OwnData:
    """Looks at a data set.

    Args:
        root: Its folder.
        task: What it shall be used for.

    Returns:
        What was found by the first layout of which there are signs.

    Raises:
        UserError: When there is no such folder, when it is in none of the layouts, or
            when something in it is wrong.
    """
    if not root.is_dir():
        raise UserError(f'{root}: there is no such folder of data')
    for layout in LAYOUTS[task]:
        if (found := layout.read(root)) is None:
            continue
        if not found.train:
            raise UserError(f'{root} has no picture to train on; add some')
        return replace(found, remarks=(*found.remarks, *_left_out(found)))
    signs = '; '.join(layout.signs for layout in LAYOUTS[task])
    raise UserError(
        f'{root} is in no layout for {task} that is known; looked for: {signs}'
    )


def _left_out(data: OwnData) -> list[str]:
    """Says which classes nobody can learn."""
    seen = {int(label) for sample in data.train for label in sample.labels}
    missing = [name for n, name in enumerate(data.classes) if n not in seen]
    if not missing:
        return []
    named = ', '.join(missing[:5]) + ' …' * (len(missing) > 5)
    return [
        f'{len(missing)} of {len(data.classes)} classes are in no training picture and '
        f'cannot be learnt: {named}'
    ]
