"""Pictures that cannot be read, or not whole."""

from pathlib import Path
from urllib.error import URLError

import cv2
import numpy as np
import pytest

from mmnv3.datasets import LoadCheckedImage
from mmnv3.datasets.load_image import read_image
from mmnv3.errors import UserError
from tests.test_pictures import with_orientation


@pytest.fixture
def picture() -> np.ndarray:
    noise = np.random.default_rng(0).integers(0, 256, (60, 80, 3), dtype=np.uint8)
    return cv2.GaussianBlur(noise, (9, 9), 0)


@pytest.mark.parametrize('suffix', ['jpg', 'png', 'bmp'])
def test_whole_pictures_are_read(
    picture: np.ndarray, suffix: str, tmp_path: Path
) -> None:
    path = tmp_path / f'a.{suffix}'
    cv2.imwrite(str(path), picture)
    assert np.array_equal(read_image(path), cv2.imread(str(path)))
    results = LoadCheckedImage().transform(dict(img_path=str(path)))
    assert results['img_shape'] == results['ori_shape'] == (60, 80)


def test_bytes_after_the_end_do_no_harm(picture: np.ndarray, tmp_path: Path) -> None:
    path = tmp_path / 'a.jpg'
    cv2.imwrite(str(path), picture)
    path.write_bytes(path.read_bytes() + bytes(100))
    assert read_image(path).shape == (60, 80, 3)


@pytest.mark.parametrize('suffix', ['jpg', 'png'])
def test_truncated_pictures_are_named(
    picture: np.ndarray, suffix: str, tmp_path: Path
) -> None:
    path = tmp_path / f'half.{suffix}'
    cv2.imwrite(str(path), picture)
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(UserError, match=rf'half\.{suffix}: the picture is truncated'):
        read_image(path)


@pytest.mark.parametrize('content', [b'', b'hello', b'\x00' * 99])
def test_other_files_are_named(content: bytes, tmp_path: Path) -> None:
    path = tmp_path / 'a.jpg'
    path.write_bytes(content)
    with pytest.raises(UserError, match=r'a\.jpg: not a readable picture'):
        read_image(path)


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r'gone\.jpg: cannot be opened \(No such file'):
        read_image(tmp_path / 'gone.jpg')


@pytest.mark.parametrize('key', ['backend_args', 'file_client_args'])
def test_backend_args_say_how_to_fetch(
    picture: np.ndarray, key: str, tmp_path: Path
) -> None:
    path = tmp_path / 'a.png'
    cv2.imwrite(str(path), picture)
    path.rename(f'{path}.stored')
    load = LoadCheckedImage(**{key: dict(backend='mmnv3_elsewhere')})
    assert np.array_equal(load.transform(dict(img_path=str(path)))['img'], picture)
    with pytest.raises(UserError, match=r'a\.png: cannot be opened'):
        LoadCheckedImage().transform(dict(img_path=str(path)))


def test_pillow_says_it_alike(tmp_path: Path) -> None:
    path = tmp_path / 'a.png'
    path.write_text('hello')
    with pytest.raises(UserError, match=r'a\.png: not a readable picture'):
        read_image(path, backend='pillow')


def test_an_address_that_cannot_be_reached_is_named(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def fetch(*_: object, **__: object) -> bytes:
        raise URLError('no route to host')

    monkeypatch.setattr('mmengine.fileio.get', fetch)
    with pytest.raises(UserError, match=r'^http://a/b\.jpg: cannot be op.*no route'):
        read_image('http://a/b.jpg')


def test_training_skips_and_counts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    lines = []
    monkeypatch.setattr(
        'mmnv3.datasets.load_image.print_log', lambda line, **_: lines.append(line)
    )
    load = LoadCheckedImage(skip_damaged=True)
    for name in ('a', 'b', 'a'):
        assert load.transform(dict(img_path=str(tmp_path / name))) is None
    assert [line.split('; ')[-1] for line in lines] == [
        'skipped, 1 so far',
        'skipped, 2 so far',
    ]
    with pytest.raises(UserError):
        LoadCheckedImage().transform(dict(img_path=str(tmp_path / 'a')))


def test_training_gives_up_where_nothing_can_be_read(
    picture: np.ndarray, tmp_path: Path
) -> None:
    cv2.imwrite(str(tmp_path / 'a.png'), picture)
    load = LoadCheckedImage(skip_damaged=True)
    for name in ['gone'] * 99 + ['a.png'] + ['gone'] * 99:
        load.transform(dict(img_path=str(tmp_path / name)))
    with pytest.raises(UserError, match=r'gone: cannot be opened .*, as the 99 drawn'):
        load.transform(dict(img_path=str(tmp_path / 'gone')))


@pytest.mark.parametrize(
    ('said', 'remedy'),
    [
        ((80, 60), None),
        ((80.0, 60.0), None),
        (
            (79, 60),
            'says 79x60: correct width and height there, or give the picture th',
        ),
        ((60, 80), 'says 60x80: .*as it lies, load it with .*ignore_orientation'),
    ],
)
def test_a_picture_has_the_size_that_its_annotation_says(
    said: tuple, remedy: str | None, picture: np.ndarray, tmp_path: Path
) -> None:
    path = tmp_path / 'a.png'
    cv2.imwrite(str(path), picture)
    given = dict(img_path=str(path), width=said[0], height=said[1])
    if remedy is None:
        assert LoadCheckedImage().transform(given)['img_shape'] == (60, 80)
        return
    with pytest.raises(UserError, match=rf'a\.png has 80x60 pixels, .* {remedy}'):
        LoadCheckedImage().transform(given)
    assert LoadCheckedImage(skip_damaged=True).transform(given) is None


def test_a_turned_picture_is_annotated_as_it_stands_or_as_it_lies(
    picture: np.ndarray, tmp_path: Path
) -> None:
    path = tmp_path / 'a.jpg'
    cv2.imwrite(str(path), picture)
    path.write_bytes(with_orientation(path.read_bytes(), 6))
    stands = dict(img_path=str(path), width=60, height=80)
    assert LoadCheckedImage().transform(stands)['img_shape'] == (80, 60)
    lies = dict(img_path=str(path), width=80, height=60)
    load = LoadCheckedImage(color_type='color_ignore_orientation')
    assert load.transform(lies)['img_shape'] == (60, 80)
    with pytest.raises(UserError, match='has 60x80 pixels, and its annotation says 80'):
        LoadCheckedImage().transform(lies)
