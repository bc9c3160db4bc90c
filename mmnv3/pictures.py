"""Pictures from files and from memory, always as (H, W, 3) uint8, BGR."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np

from mmnv3.errors import UserError

# The end of a whole file, by its beginning. Decoders paint what is missing grey and
# report success.
_ENDS = {b'\xff\xd8': b'\xff\xd9', b'\x89PNG': b'IEND\xaeB`\x82'}

# What arrays of so many channels become.
_TO_BGR = {1: cv2.COLOR_GRAY2BGR, 4: cv2.COLOR_BGRA2BGR}


def read_picture(path: str | Path) -> np.ndarray:
    """Reads a picture, upright.

    Grey becomes three equal channels, alpha is dropped, 16 bits become 8, and a
    camera's note on how it was held (EXIF) is followed.

    Args:
        path: The file.

    Returns:
        (H, W, 3) uint8, BGR.

    Raises:
        UserError: When the file is missing, truncated or not a picture.
    """
    return load_picture(path, lambda path: Path(path).read_bytes(), _decode)


def load_picture(
    path: str | Path,
    fetch: Callable[[str], bytes],
    decode: Callable[[bytes], np.ndarray | None],
) -> np.ndarray:
    """Reads a picture, or says which one cannot be read.

    Args:
        path: The file, or an address that ``fetch`` knows.
        fetch: Gives the content of a path.
        decode: Makes an array of a content; None where it cannot.

    Returns:
        What ``decode`` gives.

    Raises:
        UserError: When the file is missing, truncated or not a picture.
    """
    try:
        content = bytes(fetch(str(path)))
    except OSError as error:
        reason = error.strerror or error
        raise UserError(f'{path}: cannot be opened ({reason})') from None
    for start, end in _ENDS.items():
        # Some cameras pad the file, so the end is looked for, not at, the end.
        if content.startswith(start) and end not in content[-4096:]:
            raise UserError(f'{path}: the picture is truncated')
    try:
        picture = decode(content) if content else None
    except (cv2.error, OSError, SyntaxError):  # As OpenCV and Pillow say it.
        picture = None
    if picture is None:
        raise UserError(f'{path}: not a readable picture')
    return picture


def _decode(content: bytes) -> np.ndarray | None:
    return cv2.imdecode(np.frombuffer(content, np.uint8), cv2.IMREAD_COLOR)


def as_picture(array: np.ndarray) -> np.ndarray:
    """Makes of an array what :func:`read_picture` makes of its file.

    Args:
        array: (H, W), (H, W, 1), (H, W, 3) BGR or (H, W, 4) BGRA, uint8 or uint16.

    Returns:
        (H, W, 3) uint8, BGR; the array itself where it is that already.

    Raises:
        UserError: When it is none of these.
    """
    channels = 1 if array.ndim == 2 else array.shape[-1] if array.ndim == 3 else 0
    known = channels in (1, 3, 4) and array.dtype in (np.uint8, np.uint16)
    if not known or not array.size:
        raise UserError(
            f'a picture is a uint8 or uint16 array (H, W, 3), BGR, or grey, or with '
            f'alpha, and this is {array.dtype} of {array.shape}'
        )
    if array.dtype == np.uint16:
        array = (array >> 8).astype(np.uint8)
    return array if channels == 3 else cv2.cvtColor(array, _TO_BGR[channels])


def list_files(folder: str | Path) -> list[Path]:
    """The files of a folder and its subfolders, sorted, without hidden ones."""
    folder = Path(folder)
    return sorted(
        path
        for path in folder.rglob('*')
        if path.is_file()
        and not any(part.startswith('.') for part in path.relative_to(folder).parts)
    )
