"""Pictures of every kind become the same kind of array."""

from pathlib import Path

import cv2
import numpy as np
import pytest

from mmnv3.errors import UserError
from mmnv3.pictures import as_picture, list_files, read_picture


@pytest.fixture
def colour() -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (12, 20, 3), np.uint8)


def write(path: Path, array: np.ndarray) -> Path:
    assert cv2.imwrite(str(path), array)
    return path


def with_orientation(jpeg: bytes, orientation: int) -> bytes:
    """A JPEG file with the EXIF note of a camera that was held so."""
    entry = b'\x01\x12\x00\x03\x00\x00\x00\x01' + bytes([0, orientation, 0, 0])
    exif = b'Exif\0\0MM\x00\x2a\x00\x00\x00\x08\x00\x01' + entry + bytes(4)
    return jpeg[:2] + b'\xff\xe1' + (len(exif) + 2).to_bytes(2, 'big') + exif + jpeg[2:]


def test_a_file_and_its_array_are_the_same_picture(colour, tmp_path) -> None:
    grey = colour[..., 0]
    alpha = np.dstack([colour, colour[..., :1]])
    deep = np.random.default_rng(1).integers(0, 65536, (12, 20, 3), np.uint16)
    for name, array, expected in (
        ('colour', colour, colour),
        ('grey', grey, np.dstack([grey] * 3)),
        ('alpha', alpha, colour),
        ('deep', deep, (deep // 256).astype(np.uint8)),
        ('deep grey', deep[..., 0], np.dstack([deep[..., 0] // 256] * 3)),
    ):
        path = write(tmp_path / f'{name}.png', array)
        for found in (read_picture(path), as_picture(array)):
            assert found.dtype == np.uint8, name
            np.testing.assert_array_equal(found, expected, name)
    np.testing.assert_array_equal(as_picture(grey[..., None]), np.dstack([grey] * 3))
    assert as_picture(colour) is colour


def test_cameras_are_turned_upright(colour, tmp_path) -> None:
    smooth = cv2.GaussianBlur(colour, (9, 9), 0)
    plain = write(tmp_path / 'plain.jpg', smooth)
    turned = tmp_path / 'turned.jpg'
    turned.write_bytes(with_orientation(plain.read_bytes(), 6))
    found = read_picture(turned)
    assert found.shape == (20, 12, 3)
    np.testing.assert_array_equal(
        found, cv2.rotate(read_picture(plain), cv2.ROTATE_90_CLOCKWISE)
    )


@pytest.mark.parametrize(
    'array',
    [
        np.zeros((4, 4, 3)),
        np.zeros((4, 4, 3), bool),
        np.zeros((4, 4, 2), np.uint8),
        np.zeros((1, 4, 4, 3), np.uint8),
        np.zeros((0, 4, 3), np.uint8),
        np.zeros((), np.uint8),
    ],
)
def test_other_arrays_are_told(array) -> None:
    with pytest.raises(UserError, match=r'uint8 or uint16 array \(H, W, 3\)') as error:
        as_picture(array)
    assert f'{array.dtype} of {array.shape}' in str(error.value)
    assert '\n' not in str(error.value)


def test_other_files_are_told(colour, tmp_path) -> None:
    half = write(tmp_path / 'half.png', colour)
    half.write_bytes(half.read_bytes()[:200])
    (tmp_path / 'text.jpg').write_text('hello')
    (tmp_path / 'empty.jpg').touch()
    for name, message in (
        ('half.png', 'truncated'),
        ('text.jpg', 'not a readable picture'),
        ('empty.jpg', 'not a readable picture'),
        ('gone.jpg', 'cannot be opened'),
        ('.', 'cannot be opened'),
    ):
        with pytest.raises(UserError, match=message) as error:
            read_picture(tmp_path / name)
        assert str(error.value).startswith(str(tmp_path / name))


def test_folders_are_listed_with_what_is_inside(tmp_path) -> None:
    for name in ('b.jpg', 'a/c.jpg', '.hidden', '.thumbs/d.jpg'):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    assert list_files(tmp_path) == [tmp_path / 'a/c.jpg', tmp_path / 'b.jpg']
