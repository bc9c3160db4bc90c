"""The demo set on disk: one copy of each picture, COCO json and Cityscapes masks.

Layout, the one of Cityscapes with the json files that its detection users add::

    annotations/instances_{train,val}.json
    leftImg8bit/{train,val}/demo/demo_000001_leftImg8bit.jpg
    gtFine/{train,val}/demo/demo_000001_gtFine_labelTrainIds.png

The json's ``file_name`` is relative to ``leftImg8bit/train`` or ``.../val``.
"""

from __future__ import annotations

import json
import os
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from pycocotools import mask as coco_mask
from rich.progress import track

from mmnv3.datasets.demo.classes import CLASSES
from mmnv3.datasets.demo.scene import Scene, check_size, draw_scene
from mmnv3.errors import UserError
from mmnv3.files import temporary_folder

# Raise it with every change that alters a picture: an older set is then told
# apart from what the same parameters give today.
GENERATOR_VERSION = 1

SPLITS: tuple[str, ...] = ('train', 'val')
CITY = 'demo'
IMAGE_SUFFIX = '_leftImg8bit.jpg'
MASK_SUFFIX = '_gtFine_labelTrainIds.png'

# JPEG decodes in a third of the time of PNG, which short CPU trainings notice.
_JPEG = (cv2.IMWRITE_JPEG_QUALITY, 92)
_MAX_IMAGES = 999_999


@dataclass(frozen=True)
class DemoSpec:
    """What determines a demo set, byte for byte.

    Args:
        train: Number of training pictures.
        val: Number of validation pictures.
        seed: Any integer from 0. Pictures of one seed are the same however many
            of them are drawn.
        size: Side of the square pictures in pixels.

    Raises:
        UserError: If a value is out of range.
    """

    train: int = 600
    val: int = 120
    seed: int = 0
    size: int = 320

    def __post_init__(self) -> None:
        """Check the values."""
        for split in SPLITS:
            count = self.count(split)
            if not 1 <= count <= _MAX_IMAGES:
                raise UserError(f'{split}={count}: choose 1 to {_MAX_IMAGES} images')
        if self.seed < 0:
            raise UserError(f'seed={self.seed}: choose 0 or more')
        check_size(self.size)

    def count(self, split: str) -> int:
        """Number of pictures of a split."""
        return {'train': self.train, 'val': self.val}[split]

    def scene(self, split: str, number: int) -> Scene:
        """Draw picture ``number`` (from 1) of a split."""
        rng = np.random.default_rng([self.seed, SPLITS.index(split), number])
        return draw_scene(rng, self.size)


def image_path(split: str, number: int) -> Path:
    """Path of a picture inside the set."""
    return _image_root(split) / _image_name(number)


def mask_path(split: str, number: int) -> Path:
    """Path of a picture's class map inside the set."""
    return Path('gtFine', split, CITY, f'{CITY}_{number:06d}{MASK_SUFFIX}')


def annotation_path(split: str) -> Path:
    """Path of a split's COCO json inside the set."""
    return Path('annotations', f'instances_{split}.json')


def write_demo_data(
    out: Path, spec: DemoSpec, workers: int | None = None, progress: bool = False
) -> bool:
    """Write a demo set, unless the same one is there already.

    Args:
        out: Folder to make. The set is written beside it and renamed when it is
            complete.
        spec: What to draw.
        workers: Threads that draw; the result does not depend on it. Default:
            the number of processors.
        progress: Show a progress bar.

    Returns:
        True if the set was written, False if it was there.

    Raises:
        UserError: If ``out`` holds another set, a damaged one or other files.
    """
    out = Path(out).absolute()
    if _is_present(out, spec):
        return False
    with temporary_folder(out) as folder:
        for split in SPLITS:
            for path in (image_path(split, 1), mask_path(split, 1)):
                (folder / path).parent.mkdir(parents=True)
        (folder / 'annotations').mkdir()
        jobs = [
            (folder, spec, split, number)
            for split in SPLITS
            for number in range(1, spec.count(split) + 1)
        ]
        # Threads suffice: OpenCV and NumPy release the lock while they draw.
        with ThreadPoolExecutor(workers or os.cpu_count() or 1) as pool:
            results = pool.map(_draw_and_write, *zip(*jobs, strict=True))
            if progress:
                results = track(results, 'Drawing', total=len(jobs))
            objects = list(results)
        for split in SPLITS:
            per_image = [
                found
                for job, found in zip(jobs, objects, strict=True)
                if job[2] == split
            ]
            text = json.dumps(_coco(spec, split, per_image))
            (folder / annotation_path(split)).write_text(text)
        if out.exists():
            out.rmdir()  # Empty, as _is_present found: Windows cannot replace it.
        os.replace(folder, out)
    return True


def _image_root(split: str) -> Path:
    return Path('leftImg8bit', split)


def _image_name(number: int) -> str:
    return f'{CITY}/{CITY}_{number:06d}{IMAGE_SUFFIX}'


def _info(spec: DemoSpec) -> dict[str, Any]:
    return {
        'description': 'mmnv3 demo data: drawn shapes',
        'version': str(GENERATOR_VERSION),
        **asdict(spec),
    }


def _is_present(out: Path, spec: DemoSpec) -> bool:
    remedy = 'delete it, or choose another --out'
    if out.is_dir() and not any(out.iterdir()):
        return False
    if not out.exists():
        return False
    for split in SPLITS:
        file = out / annotation_path(split)
        try:
            info = dict(json.loads(file.read_text())['info'])
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise UserError(
                f'{out}: {file.name} is no readable demo json '
                f'({type(error).__name__}): {remedy}'
            ) from error
        wanted = _info(spec)
        if info != wanted:
            keys = sorted(k for k in {*info, *wanted} if info.get(k) != wanted.get(k))
            there = ', '.join(f'{k}={info.get(k)}' for k in keys)
            asked = ', '.join(f'{k}={wanted.get(k)}' for k in keys)
            raise UserError(
                f'{out}: holds a set with {there}, asked for {asked}: {remedy}'
            )
    for split in SPLITS:
        for number in range(1, spec.count(split) + 1):
            for path in (image_path(split, number), mask_path(split, number)):
                if not (out / path).is_file():
                    raise UserError(f'{out}: {path} is missing: {remedy}')
    return True


def _draw_and_write(
    folder: Path, spec: DemoSpec, split: str, number: int
) -> list[dict[str, Any]]:
    """Write one picture and its class map; return its COCO objects, without ids."""
    scene = spec.scene(split, number)
    _write_image(folder / image_path(split, number), scene.image, _JPEG)
    _write_image(folder / mask_path(split, number), scene.semantic_map(), ())
    return [
        {
            'category_id': int(label) + 1,
            'bbox': [int(x0), int(y0), int(x1 - x0), int(y1 - y0)],
            'area': int(mask.sum()),
            'iscrowd': 0,
            'segmentation': _run_lengths(mask),
        }
        for (x0, y0, x1, y1), label, mask in zip(
            scene.boxes, scene.labels, scene.masks, strict=True
        )
    ]


def _write_image(path: Path, image: np.ndarray, options: tuple[int, ...]) -> None:
    done, data = cv2.imencode(path.suffix, image, options)
    if not done:
        raise RuntimeError(f'{path}: OpenCV cannot encode this format')
    path.write_bytes(data.tobytes())


def _run_lengths(mask: np.ndarray) -> dict[str, Any]:
    encoded = coco_mask.encode(np.asfortranarray(mask, np.uint8))
    return {'size': encoded['size'], 'counts': encoded['counts'].decode('ascii')}


def _coco(
    spec: DemoSpec, split: str, per_image: list[list[dict[str, Any]]]
) -> dict[str, Any]:
    side = {'width': spec.size, 'height': spec.size}
    pairs = [(i, found) for i, many in enumerate(per_image, 1) for found in many]
    return {
        'info': _info(spec),
        'licenses': [],
        'categories': [
            {'id': i, 'name': name, 'supercategory': 'shape'}
            for i, name in enumerate(CLASSES, 1)
        ],
        'images': [
            {'id': number, 'file_name': _image_name(number), **side}
            for number in range(1, len(per_image) + 1)
        ],
        'annotations': [
            {'id': i, 'image_id': number, **found}
            for i, (number, found) in enumerate(pairs, 1)
        ],
    }
