"""Annotation files of any content are read, or told in one line."""

import json
from copy import deepcopy
from pathlib import Path

import pytest

from mmnv3.coco_file import read_coco
from mmnv3.errors import UserError
from tests.mutate import mutate

GOOD = dict(
    images=[dict(id=i, file_name=f'{i}.jpg', width=9, height=8) for i in (1, 2)],
    annotations=[
        dict(id=i, image_id=i, category_id=i, bbox=[1, 2.5, 3, 4], area=12)
        for i in (1, 2)
    ],
    categories=[dict(id=i, name=name) for i, name in ((1, 'disc'), (2, 'ring'))],
)


def read(path: Path, content: bytes) -> dict:
    path.write_bytes(content)
    return read_coco(str(path), 'a.json', False)


def test_a_good_file_is_read(tmp_path: Path) -> None:
    assert read(tmp_path / 'a', json.dumps(GOOD).encode()) == GOOD


WRONG = [
    (part, key, value)
    for part, keys in {
        'images': ('id', 'file_name', 'width', 'height'),
        'annotations': ('id', 'image_id', 'category_id', 'bbox', 'area'),
        'categories': ('id', 'name'),
    }.items()
    for key in keys
    for value in (None, [], {}, True, float('nan'), [1, 2, 3], [1, 2, 3, 4, 5])
] + [
    ('annotations', 'bbox', [1, 2, float('inf'), 4]),
    ('annotations', 'bbox', [1, 2, None, 4]),
    ('annotations', 'bbox', [1, 2, '3', 4]),
    ('annotations', 'area', 10**400),
    ('images', 'width', 0),
    ('images', 'file_name', 'http://a/b.jpg'),
    ('images', 'file_name', ''),
]


@pytest.mark.parametrize(('part', 'key', 'value'), WRONG)
def test_wrong_values_are_named(part: str, key: str, value, tmp_path: Path) -> None:
    data = deepcopy(GOOD)
    data[part][1][key] = value
    with pytest.raises(UserError, match=rf'^a\.json: {part}\[1\]\.{key} is .* must be'):
        read(tmp_path / 'a', json.dumps(data).encode())


@pytest.mark.parametrize('part', GOOD)
def test_items_and_ids_are_looked_at(part: str, tmp_path: Path) -> None:
    for item in (None, 1, 'a', []):
        with pytest.raises(UserError, match=rf'{part}\[2\] is no object with id'):
            read(
                tmp_path / 'a',
                json.dumps({**GOOD, part: [*GOOD[part], item]}).encode(),
            )
    with pytest.raises(UserError, match=rf'2 of its {part} have the id 1, .*: give'):
        read(
            tmp_path / 'a',
            json.dumps({**GOOD, part: [*GOOD[part], GOOD[part][0]]}).encode(),
        )


@pytest.mark.parametrize(
    ('content', 'message'),
    [
        (b'', 'not a readable JSON'),
        (json.dumps(GOOD).encode()[:-9], 'not a readable JSON'),
        (json.dumps(GOOD).encode('utf-8-sig'), 'save it as UTF-8 without BOM'),
        (json.dumps(GOOD).encode('utf-16'), 'is no UTF-8'),
        (b'[' * 200_000, 'not a readable JSON'),
        (b'[]', 'needs the lists images, annotations, categories'),
        (b'{"images": {}}', 'needs the lists'),
    ],
)
def test_other_files_are_named(content: bytes, message: str, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=message) as error:
        read(tmp_path / 'a', content)
    assert '\n' not in str(error.value)


def check_mutated_files(count: int, path: Path) -> None:
    content = json.dumps(GOOD).encode()
    good = 0
    for seed in range(count):
        try:
            read(path, mutate(content, seed))
        except UserError as error:
            assert str(error).startswith('a.json') and '\n' not in str(error), seed
        else:
            good += 1
    assert 0 < good < count
    assert list(path.parent.iterdir()) == [path]


def test_mutated_files_are_read_or_told(tmp_path: Path) -> None:
    check_mutated_files(500, tmp_path / 'a')


@pytest.mark.slow  # As the one above, with many more cases.
def test_many_mutated_files_are_read_or_told(tmp_path: Path) -> None:
    check_mutated_files(5000, tmp_path / 'a')
