"""Pictures of every kind become the same kind of array."""

import os
import struct
import zlib
from functools import partial
from io import BytesIO
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image

from mmnv3.errors import UserError
from mmnv3.pictures import (
    as_picture,
    list_files,
    load_picture,
    read_picture,
    writable_name,
    write_picture,
)
from tests.mutate import mutate


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


def encoded(kind: str, picture: np.ndarray, **options: object) -> bytes:
    content = BytesIO()
    Image.fromarray(picture[..., ::-1]).save(content, kind, **options)
    return content.getvalue()


KINDS = {
    'jpeg': partial(encoded, 'JPEG'),
    'progressive': partial(encoded, 'JPEG', progressive=True),
    'with restarts': partial(encoded, 'JPEG', restart_marker_blocks=1),
    'with a thumbnail': lambda picture: encoded(
        'JPEG', picture, exif=b'Exif\0\0' + encoded('JPEG', picture[:4, :4])
    ),
    'png': partial(encoded, 'PNG'),
}


@pytest.mark.parametrize('kind', KINDS)
def test_what_follows_a_picture_does_not_matter(kind, colour, tmp_path) -> None:
    whole = KINDS[kind](colour)
    path = tmp_path / 'a'
    path.write_bytes(whole)
    expected = read_picture(path)
    noise = np.random.default_rng(2).bytes(100_000)
    for more in (bytes(9999), noise, b'\xff' * 9999, whole[: len(whole) // 2]):
        path.write_bytes(whole + more)
        np.testing.assert_array_equal(read_picture(path), expected)


@pytest.mark.parametrize('kind', KINDS)
def test_every_truncation_is_told(kind, colour, tmp_path) -> None:
    whole = KINDS[kind](colour)
    path = tmp_path / 'a'
    for length in range(8, len(whole), 7):
        path.write_bytes(whole[:length])
        with pytest.raises(UserError, match='the picture is truncated'):
            read_picture(path)


def test_pictures_that_are_too_large_are_refused_undecoded(
    colour, tmp_path, monkeypatch
) -> None:
    def chunk(name: bytes, data: bytes) -> bytes:
        checksum = zlib.crc32(name + data)
        return struct.pack('>I', len(data)) + name + data + struct.pack('>I', checksum)

    header = struct.pack('>IIBBBBB', 20000, 20000, 8, 2, 0, 0, 0)
    huge = tmp_path / 'huge.png'
    huge.write_bytes(
        b'\x89PNG\r\n\x1a\n'
        + chunk(b'IHDR', header)
        + chunk(b'IDAT', zlib.compress(b''))
        + chunk(b'IEND', b'')
    )
    with pytest.raises(
        UserError, match=r'400000000 pixels, more than 178956970; .* set'
    ):
        load_picture(
            huge, lambda path: Path(path).read_bytes(), lambda _: pytest.fail()
        )
    for kind in ('png', 'jpg', 'bmp', 'webp', 'tiff'):
        path = write(tmp_path / f'a.{kind}', colour)
        monkeypatch.setenv('MMNV3_MAX_IMAGE_PIXELS', '239')
        with pytest.raises(
            UserError, match=r'240 pixels, more than 239; .*MMNV3_MAX_IM'
        ):
            read_picture(path)
        monkeypatch.setenv('MMNV3_MAX_IMAGE_PIXELS', '240')
        assert read_picture(path).shape == (12, 20, 3)
    monkeypatch.setenv('MMNV3_MAX_IMAGE_PIXELS', 'many')
    with pytest.raises(UserError, match=r"^MMNV3_MAX_IMAGE_PIXELS is 'many'; set it"):
        read_picture(path)


def test_pipes_and_devices_are_refused(tmp_path) -> None:
    os.mkfifo(tmp_path / 'pipe')
    for path in (tmp_path / 'pipe', Path('/dev/zero')):
        with pytest.raises(UserError, match=f'^{path}: a picture is a file'):
            read_picture(path)


def test_any_name_is_read_or_told(colour, tmp_path) -> None:
    plain = write(tmp_path / 'a.png', colour)
    strange = tmp_path / os.fsdecode(b'\xff\xfe.png')
    plain.rename(strange)
    np.testing.assert_array_equal(read_picture(strange), colour)
    for name in ('gone', '\0', '\ud800'):
        with pytest.raises(UserError, match='cannot be opened') as error:
            read_picture(f'{strange}{name}')
        assert str(error.value).isprintable() or name == '\0'
        str(error.value).encode()


STRANGE = os.fsdecode(b'\xff\xfe')


def test_any_name_is_written(colour, tmp_path) -> None:
    path = tmp_path / STRANGE / f'{STRANGE}.png'
    write_picture(path, colour)
    np.testing.assert_array_equal(read_picture(path), colour)
    with pytest.raises(UserError, match=r'a\.png cannot be written \(Not a directory'):
        write_picture(path / 'a.png', colour)


@pytest.mark.parametrize(
    ('name', 'written'),
    [
        (f'{STRANGE}/{STRANGE}.jpg', f'{STRANGE}/{STRANGE}.jpg'),
        ('a.JPEG', 'a.JPEG'),
        ('a.b.jfif', 'a.b.png'),
        ('a.pgm', 'a.png'),
        ('a', 'a.png'),
        (f'a.jpg{STRANGE}', 'a.png'),
    ],
)
def test_what_is_read_is_written_under_a_name_that_can_be(
    name: str, written: str, colour, tmp_path
) -> None:
    assert writable_name(name) == Path(written)
    write_picture(tmp_path / writable_name(name), colour)
    assert read_picture(tmp_path / written).shape == colour.shape


def check_mutated_pictures(count: int, path: Path) -> None:
    picture = np.random.default_rng(0).integers(0, 256, (12, 20, 3), np.uint8)
    seeds = [make(picture) for make in KINDS.values()]
    seeds += [encoded(kind, picture) for kind in ('BMP', 'GIF', 'TIFF', 'WEBP', 'PPM')]
    read = 0
    for seed in range(count):
        path.write_bytes(mutate(seeds[seed % len(seeds)], seed))
        try:
            found = read_picture(path)
        except UserError as error:
            assert str(error).startswith(str(path)) and '\n' not in str(error), seed
        else:
            assert found.dtype == np.uint8 and found.shape[2:] == (3,), seed
            read += 1
    assert 0 < read < count
    assert list(path.parent.iterdir()) == [path]


def test_mutated_pictures_are_read_or_told(tmp_path) -> None:
    check_mutated_pictures(300, tmp_path / 'a')


@pytest.mark.slow  # Half a minute: the one above with many more cases.
def test_many_mutated_pictures_are_read_or_told(tmp_path) -> None:
    check_mutated_pictures(5000, tmp_path / 'a')
