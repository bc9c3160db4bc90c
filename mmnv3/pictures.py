"""Pictures from files and from memory, always as (H, W, 3) uint8, BGR."""

from __future__ import annotations

import os
import re
import struct
from collections.abc import Callable
from io import BytesIO
from pathlib import Path

import cv2
import numpy as np
from PIL import Image

from mmnv3.errors import UserError, first_line
from mmnv3.files import whole_or_absent
from mmnv3.optional import require

# How many pixels a picture may have, where the environment says no other number:
# as many as Pillow's own, which a phone's camera reaches.
_MAX_PIXELS_VARIABLE = 'MMNV3_MAX_IMAGE_PIXELS'
_MAX_PIXELS = 178_956_970

# What decoders raise for files that are damaged; OpenCV gives None as well.
_DECODER_ERRORS = (
    cv2.error,
    OSError,
    SyntaxError,
    ValueError,
    RuntimeError,
    EOFError,
    IndexError,
    struct.error,
    Image.DecompressionBombError,
)

# Where the next marker of a JPEG file may be: neither stuffed, nor one that restarts.
_JPEG_MARKER = re.compile(rb'\xff[^\x00\xff\xd0-\xd7]')
_JPEG_END = 0xD9
_JPEG_WITHOUT_LENGTH = (0x01, 0xD8)
_JPEG_FRAMES = {*range(0xC0, 0xD0)} - {0xC4, 0xC8, 0xCC}

# Endings of pictures in 8-bit colour; .pgm is grey, .hdr real numbers.
COLOUR_ENDINGS = frozenset(
    ('.bmp', '.jpeg', '.jpg', '.jpe', '.png', '.ppm', '.tif', '.tiff', '.webp')
)

# What arrays of so many channels become.
_TO_BGR = {1: cv2.COLOR_GRAY2BGR, 4: cv2.COLOR_BGRA2BGR}


def is_picture_name(path: str | Path) -> bool:
    """Whether a file is named as pictures in colour are."""
    return Path(path).suffix.lower() in COLOUR_ENDINGS


def read_picture(path: str | Path) -> np.ndarray:
    """Reads a picture, upright.

    Grey becomes three equal channels, alpha is dropped, 16 bits become 8, and a
    camera's note on how it was held (EXIF) is followed.

    Args:
        path: The file.

    Returns:
        (H, W, 3) uint8, BGR.

    Raises:
        UserError: When the file is missing, truncated, not a picture or too large.
    """
    return load_picture(path, lambda path: Path(path).read_bytes(), _decode)


def fetch_picture(address: str) -> np.ndarray:
    """Reads a picture of a file or of an address that fsspec opens.

    Args:
        address: As ``'s3://bucket/a.jpg'``, ``'https://…'``, or a path.

    Raises:
        UserError: When it cannot be fetched or read; or when fsspec is not installed.
    """
    if '://' not in address:
        return read_picture(address)
    fsspec = require('fsspec', 'ray')

    def fetch(address: str) -> bytes:
        try:
            with fsspec.open(address, 'rb') as file:
                return file.read()
        except Exception as error:  # Every file system has exceptions of its own.
            raise OSError(f'{type(error).__name__}: {first_line(error)}') from None

    return load_picture(address, fetch, _decode)


def decode_picture(content: bytes) -> np.ndarray:
    """Decodes the bytes of a file as :func:`read_picture` does.

    Raises:
        UserError: When they are truncated, not a picture or of too large a one.
    """
    return load_picture(f'{len(content)} bytes', lambda _: content, _decode)


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
        UserError: When the file is missing, truncated, not a picture or too large.
    """
    if os.path.exists(path) and not (os.path.isfile(path) or os.path.isdir(path)):
        # Opening a pipe would wait for ever.
        raise UserError(f'{path}: a picture is a file, and this is a device or a pipe')
    try:
        content = bytes(fetch(str(path)))
    except (OSError, ValueError) as error:
        # A name may hold what none of a file can.
        reason = getattr(error, 'strerror', None) or error
        raise UserError(f'{path}: cannot be opened ({reason})') from None
    pixels, whole = _look_at(content)
    if pixels > (limit := _max_pixels()):
        raise UserError(
            f'{path}: the picture has {pixels} pixels, more than {limit}; if it shall '
            f'be read, set the environment variable {_MAX_PIXELS_VARIABLE} to more'
        )
    if not whole:
        raise UserError(f'{path}: the picture is truncated')
    try:
        picture = decode(content) if content else None
    except _DECODER_ERRORS:
        picture = None
    if picture is None:
        raise UserError(f'{path}: not a readable picture')
    return picture


def _max_pixels() -> int:
    given = os.environ.get(_MAX_PIXELS_VARIABLE, str(_MAX_PIXELS))
    if not given.isdecimal():
        raise UserError(
            f'{_MAX_PIXELS_VARIABLE} is {given!r}; set it to a number of pixels'
        )
    return int(given)


def _look_at(content: bytes) -> tuple[int, bool]:
    """Looks at a picture without decoding it.

    Decoders paint what is missing of a JPEG or PNG file grey and report success; of
    other formats they notice it. What follows the end of the picture does not matter:
    some cameras pad the file, others append a video.

    Returns:
        How many pixels it says that it has, 0 where it does not; and whether it is
        whole.
    """
    if content.startswith(b'\xff\xd8'):
        return _look_at_jpeg(content)
    if content.startswith(b'\x89PNG\r\n\x1a\n'):
        return _look_at_png(content)
    try:
        with Image.open(BytesIO(content)) as picture:
            return picture.width * picture.height, True
    except Image.DecompressionBombError:
        return _MAX_PIXELS + 1, True
    except _DECODER_ERRORS:
        # Not Pillow's; OpenCV knows more formats, and has a limit of its own for them.
        return 0, True


def _look_at_jpeg(content: bytes) -> tuple[int, bool]:
    """As ITU T.81, annex B: segments of known length, and scans up to a marker."""
    pixels, place = 0, 2
    while found := _JPEG_MARKER.search(content, place):
        marker, place = content[found.end() - 1], found.end()
        if marker == _JPEG_END:
            return pixels, True
        if marker in _JPEG_WITHOUT_LENGTH:
            continue
        if marker in _JPEG_FRAMES and len(content) >= place + 7:
            height, width = struct.unpack_from('>HH', content, place + 3)
            pixels = max(pixels, width * height)
        place += int.from_bytes(content[place : place + 2], 'big')
    return pixels, False


def _look_at_png(content: bytes) -> tuple[int, bool]:
    """As the W3C's PNG, 5.3: chunks of length, name, data and checksum."""
    pixels, place = 0, 8
    while place + 12 <= len(content):
        length, name = struct.unpack_from('>I4s', content, place)
        if name == b'IHDR' and len(content) >= place + 16:
            width, height = struct.unpack_from('>II', content, place + 8)
            pixels = width * height
        place += 12 + length
        if name == b'IEND':
            return pixels, place <= len(content)
    return pixels, False


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


def writable_name(name: str | Path) -> Path:
    """A name under which a picture in colour can be written.

    Args:
        name: Of a picture that was read.

    Returns:
        The name itself, or with ``.png`` in place of an ending that is not written.
    """
    path = Path(name)
    ending = path.suffix.lower()
    # OpenCV 5 crashes where a name is no UTF-8.
    fits = ending in COLOUR_ENDINGS and cv2.haveImageWriter(f'a{ending}')
    return path if fits else path.with_suffix('.png')


def write_picture(path: Path, picture: np.ndarray) -> None:
    """Writes a picture, which appears whole or not at all, and makes its folder.

    Args:
        path: The file, also one whose name is no UTF-8, of which OpenCV 5 crashes.
        picture: (H, W, 3) uint8, BGR.

    Raises:
        UserError: When that fails.
    """
    try:
        _, content = cv2.imencode(path.suffix, picture)
        with whole_or_absent(path) as partial:
            partial.write_bytes(content.tobytes())
    except OSError as error:
        raise UserError(f'{path} cannot be written ({error.strerror})') from None


def list_files(folder: str | Path) -> list[Path]:
    """The files of a folder and its subfolders, sorted, without hidden ones."""
    folder = Path(folder)
    return sorted(
        path
        for path in folder.rglob('*')
        if path.is_file()
        and not any(part.startswith('.') for part in path.relative_to(folder).parts)
    )
