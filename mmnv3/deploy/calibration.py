"""The pictures that quantisers look at."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np

from mmnv3.deploy.info import ModelInfo
from mmnv3.deploy.pipeline import file_input
from mmnv3.errors import UserError
from mmnv3.pictures import list_files, read_picture

# What the quantisers' own documentation takes; more changed no range here.
_PICTURES = 200
# Fewer than these are likely to miss what the model will see.
_LEAST = 8
# Pixels of a picture's longer side, where as a whole they are kept in memory.
_LONGEST = 1024


def no_pictures() -> UserError:
    """That there is nothing to calibrate on."""
    return UserError(
        'int8 needs pictures to calibrate on; name a folder of some 100 to 200 like '
        'those that the model will see with --calib'
    )


def check_calibration(folder: str | Path | None) -> None:
    """Checks that there is a folder to calibrate on, before anything is built.

    Raises:
        UserError: When none is named, or when it is not there.
    """
    if folder is None:
        raise no_pictures()
    if not Path(folder).is_dir():
        raise UserError(f'--calib {folder}: there is no such folder')


def read_batches(folder: str | Path, info: ModelInfo) -> list[np.ndarray]:
    """Prepares pictures of a folder, evenly spread over it.

    Args:
        folder: Searched with its subfolders. Files that are no pictures are passed
            over.
        info: What the model takes.

    Returns:
        Batches of what the model takes, of at most 200 pictures; or these themselves,
        (H, W, 3) uint8 RGB, where the model takes them.

    Raises:
        UserError: When there is no such folder, or when it has fewer than 8 pictures.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise UserError(f'{folder}: there is no such folder of pictures')
    files = list_files(folder)
    # Those that are spread come first; the others fill in for unreadable ones.
    order = [*files[:: -(-len(files) // _PICTURES) or 1], *files]
    prepared: dict[Path, np.ndarray] = {}
    for path in dict.fromkeys(order):
        if len(prepared) == _PICTURES:
            break
        try:
            prepared[path] = file_input(_not_huge(read_picture(path), info), info)
        except UserError:
            continue
    least = max(_LEAST, info.batch)
    if len(prepared) < least:
        raise UserError(
            f'{folder} has {len(prepared)} readable pictures, too few to calibrate on; '
            f'give {least} or more, better {_PICTURES}'
        )
    pictures, batch = list(prepared.values()), info.batch
    return [
        # One of any size stands for itself.
        np.concatenate(pictures[start : start + batch])
        if batch > 1
        else pictures[start]
        for start in range(0, len(pictures) - batch + 1, batch)
    ]


def _not_huge(picture: np.ndarray, info: ModelInfo) -> np.ndarray:
    """A picture, made smaller where hundreds of its size would fill the memory."""
    factor = _LONGEST / max(picture.shape[:2])
    if not info.takes_pictures or factor >= 1:
        return picture
    return cv2.resize(picture, None, fx=factor, fy=factor, interpolation=cv2.INTER_AREA)


def noise_batches(info: ModelInfo, count: int = 4) -> list[np.ndarray]:
    """Batches that only a measurement of time can be calibrated on.

    Args:
        info: What the model takes.
        count: Batches.

    Returns:
        The same values at every call, normally distributed or of pixels.
    """
    random = np.random.default_rng(0)
    shape = info.batch_shape
    if info.takes_pictures or info.takes_pixels:
        return [random.integers(0, 256, shape, np.uint8) for _ in range(count)]
    return [random.standard_normal(shape).astype(np.float32) for _ in range(count)]
