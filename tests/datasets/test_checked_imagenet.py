"""Folders of classes: complete ones load, and what is wrong with others is said."""

from pathlib import Path

import cv2
import numpy as np
import pytest
from mmpretrain.datasets import ImageNet

from mmnv3.datasets import CheckedCustomDataset, CheckedImageNet
from mmnv3.errors import UserError

CLASSES = dict(metainfo=dict(classes=('cat', 'dog')))


@pytest.fixture
def root(tmp_path: Path) -> Path:
    for name in ('n1/a', 'n1/b', 'n2/c'):
        path = tmp_path / f'train/{name}.png'
        path.parent.mkdir(parents=True, exist_ok=True)
        cv2.imwrite(str(path), np.zeros((4, 6, 3), np.uint8))
    return tmp_path


def test_what_mmpretrain_finds_is_found(root: Path) -> None:
    for given in (
        dict(split='train'),
        dict(data_prefix='train'),
        dict(data_prefix='train', with_label=False),
    ):
        given.update(data_root=str(root), **CLASSES)
        found, expected = CheckedImageNet(**given), ImageNet(**given)
        assert len(found) == 3
        assert list(map(found.get_data_info, range(3))) == list(
            map(expected.get_data_info, range(3))
        )
    data = CheckedCustomDataset(
        data_root=str(root),
        data_prefix='train',
        pipeline=[dict(type='LoadImageFromFile'), dict(type='mmpretrain.PackInputs')],
    )
    assert data.CLASSES == ('n1', 'n2')
    sample = data[2]
    assert sample['inputs'].shape == (3, 4, 6) and sample['data_samples'].gt_label == 1


def test_a_damaged_picture_is_skipped_in_training_alone(root: Path) -> None:
    (root / 'train/n1/a.png').write_bytes(b'none')
    given = dict(
        data_root=str(root), split='train', pipeline=[dict(type='LoadImageFromFile')]
    )
    assert CheckedImageNet(**given, **CLASSES)[0]['img'].shape == (4, 6, 3)
    with pytest.raises(UserError, match=r'a\.png: not a readable picture'):
        CheckedImageNet(**given, **CLASSES, test_mode=True)[0]


@pytest.mark.parametrize(
    ('given', 'message'),
    [
        (dict(split='val'), r'/val: there is no such folder; set data_root and split'),
        (dict(split='train', metainfo=None), r'/train holds 2 folders of classes, '
         r'and 1000 classes are asked for: complete it, or set metainfo\.classes'),
        (dict(split='train', extensions=['.jpg']), r'/train holds no picture \.jpg'),
        (dict(split='train', ann_file='gone.txt'), r'/gone\.txt: there is no such fi'),
    ],
)  # fmt: skip
def test_wrong_places_are_named(root: Path, given: dict, message: str) -> None:
    with pytest.raises(UserError, match=message) as error:
        CheckedImageNet(**{'data_root': str(root), **CLASSES, **given})
    assert '\n' not in str(error.value)


@pytest.mark.parametrize(
    ('lines', 'message'),
    [
        (b'', 'names no picture'),
        (b'n1/a.png\n', 'is no list of pictures, each line of which has the name'),
        (b'n1/a.png one\n', 'is no list of pictures'),
        (b'\xff\xfe\x00', 'is no list of pictures'),
        (b'n1/a.png 0\nn2/c.png 2\n', 'line 2: 2 is no class; possible are 0 to 1'),
        (b'n1/a.png -1\n', 'line 1: -1 is no class; possible are 0 to 1'),
    ],
)
def test_wrong_lists_are_named(root: Path, lines: bytes, message: str) -> None:
    (root / 'list.txt').write_bytes(lines)
    with pytest.raises(UserError, match=rf'list\.txt.* ?{message}') as error:
        CheckedImageNet(
            data_root=str(root), split='train', ann_file='list.txt', **CLASSES
        )
    assert '\n' not in str(error.value)
