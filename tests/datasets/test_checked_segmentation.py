"""Pairs of pictures and labels: complete ones load, others are named."""

from io import BytesIO
from pathlib import Path

import cv2
import mmcv
import numpy as np
import pytest
from mmengine.registry import init_default_scope
from mmseg.datasets.transforms import LoadAnnotations, RandomCrop
from mmseg.models import SegDataPreProcessor
from PIL import Image

from mmnv3.datasets import (
    CheckedCityscapesDataset,
    CheckedSegDataset,
    LoadCheckedLabels,
)
from mmnv3.errors import UserError
from tests.mutate import mutate

PREFIX = dict(img_path='leftImg8bit/train', seg_map_path='gtFine/train')
PIPELINE = [
    dict(type='mmnv3.LoadCheckedImage'),
    dict(type='mmnv3.LoadCheckedLabels'),
    dict(type='PackSegInputs'),
]


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """Two pictures of 6x4 pixels in Cityscapes' layout, labels 0 to 3 and 255."""
    init_default_scope('mmseg')
    for name in 'ab':
        picture = tmp_path / f'leftImg8bit/train/town/{name}_leftImg8bit.png'
        picture.parent.mkdir(parents=True, exist_ok=True)
        cv2.imwrite(str(picture), np.full((4, 6, 3), 90, np.uint8))
        write_labels(tmp_path, name, np.uint8([[0, 1, 2, 3, 13, 255]] * 4))
    return tmp_path


def write_labels(root: Path, name: str, labels: np.ndarray) -> None:
    path = labels_path(root, name)
    path.parent.mkdir(parents=True, exist_ok=True)
    assert cv2.imwrite(str(path), labels)


def labels_path(root: Path, name: str) -> Path:
    return root / f'gtFine/train/town/{name}_gtFine_labelTrainIds.png'


def cityscapes(root: Path, **kwargs: object) -> CheckedCityscapesDataset:
    return CheckedCityscapesDataset(
        data_root=str(root), data_prefix=PREFIX, pipeline=PIPELINE, **kwargs
    )


def test_complete_pairs_load(root: Path) -> None:
    data = cityscapes(root)
    assert len(data) == 2
    found = data[0]['data_samples'].gt_sem_seg.data
    assert found.tolist() == [[[0, 1, 2, 3, 13, 255]] * 4]


def test_some_of_the_classes(root: Path) -> None:
    # As CamVid's config: what is not among them is ignored.
    data = cityscapes(root, metainfo=dict(classes=('road', 'building', 'car')))
    found = data[0]['data_samples'].gt_sem_seg.data
    assert found.tolist() == [[[0, 255, 1, 255, 2, 255]] * 4]


def test_other_data_with_its_own_suffixes(root: Path) -> None:
    for path in root.rglob('*.png'):
        name = path.name.split('_')[0]
        path.rename(path.with_name(f'{name}.png'))
    data = CheckedSegDataset(
        data_root=str(root), data_prefix=PREFIX, pipeline=PIPELINE,
        img_suffix='.png', metainfo=dict(classes=tuple('abcdefghijklmn')),
    )  # fmt: skip
    assert len(data) == 2 and data[1]['inputs'].shape == (3, 4, 6)


def test_a_missing_folder_is_named(root: Path) -> None:
    with pytest.raises(UserError, match=r'gone/leftImg8bit/train: there is no such'):
        cityscapes(root / 'gone')


def test_a_folder_without_pictures_is_named(root: Path) -> None:
    for path in (root / 'leftImg8bit').rglob('*.png'):
        path.unlink()
    with pytest.raises(
        UserError, match=r'leftImg8bit/train holds no picture \*_leftImg8bit\.png'
    ):
        cityscapes(root)


def test_a_picture_without_labels_is_named(root: Path) -> None:
    labels_path(root, 'b').unlink()
    with pytest.raises(
        UserError, match=r'1 of 2 pictures have no labels; .*/b_gtFine_labelTrainIds'
    ):
        cityscapes(root)


def test_labels_without_a_picture_are_told(root: Path, monkeypatch) -> None:
    told = []
    monkeypatch.setattr(
        'mmnv3.datasets.checked_segmentation.print_log',
        lambda text, **kwargs: told.append(text),
    )
    write_labels(root, 'c', np.zeros((4, 6), np.uint8))
    assert len(cityscapes(root)) == 2
    assert len(told) == 1
    assert told[0].startswith('1 label files have no picture')
    assert 'c_gtFine_labelTrainIds.png' in told[0]


def test_a_list_may_name_some_of_the_pictures(root: Path) -> None:
    (root / 'some.txt').write_text('town/b\n')
    data = cityscapes(root, ann_file='some.txt')
    assert len(data) == 1 and data[0]['data_samples'].img_path.endswith(
        'b_leftImg8bit.png'
    )


WRONG = {
    'a class that is none': (
        np.uint8([[0, 19, 0, 0, 0, 0]] * 4),
        'holds the label 19; with 19 classes possible are 0 to 18, and 255',
    ),
    'colours': (
        np.zeros((4, 6, 3), np.uint8),
        'has 3 channels; labels are one channel of class numbers',
    ),
    'another size': (
        np.zeros((6, 4), np.uint8),
        r'is 4x6 pixels and its picture .*a_leftImg8bit.png 6x4; give the labels',
    ),
    'one pixel': (np.zeros((1, 1), np.uint8), 'is 1x1 pixels and its picture'),
    'sixteen bits': (
        np.full((4, 6), 300, np.uint16),
        'holds the label 300; possible are .* 0 to 255: convert it to 8 bits',
    ),
}


@pytest.mark.parametrize('case', WRONG)
def test_wrong_labels_are_named(case: str, root: Path) -> None:
    labels, message = WRONG[case]
    write_labels(root, 'a', labels)
    data = cityscapes(root)
    with pytest.raises(UserError, match=rf'a_gtFine_labelTrainIds\.png {message}'):
        data[0]


@pytest.mark.parametrize('reduce_zero_label', [False, True])
@pytest.mark.parametrize(
    'label_map', [None, {0: 1, 1: 0, 2: 255, 3: 255}, {7: 3, 254: 9}]
)
def test_labels_are_those_of_mmseg(
    reduce_zero_label: bool, label_map: dict | None, root: Path
) -> None:
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 256, (40, 60), np.uint8)
    write_labels(root, 'a', labels)
    given = dict(
        seg_map_path=str(labels_path(root, 'a')),
        reduce_zero_label=reduce_zero_label,
        label_map=label_map,
        num_classes=256,
    )
    results = [
        load.transform({**given, 'seg_fields': []})
        for load in (LoadAnnotations(), LoadCheckedLabels())
    ]
    expected, found = (result['gt_seg_map'] for result in results)
    assert found.dtype == np.uint8
    np.testing.assert_array_equal(found, expected)
    assert results[1]['seg_fields'] == ['gt_seg_map']


def test_labels_are_decoded_once(root: Path, monkeypatch) -> None:
    decoded = []
    decode = mmcv.imfrombytes
    monkeypatch.setattr(
        'mmcv.imfrombytes',
        lambda *args, **kwargs: decoded.append(1) or decode(*args, **kwargs),
    )
    transform = LoadCheckedLabels()
    transform.transform(
        dict(
            seg_map_path=str(labels_path(root, 'a')), reduce_zero_label=False,
            num_classes=19, seg_fields=[],
        )
    )  # fmt: skip
    assert len(decoded) == 1


def test_the_pipeline_must_not_contradict_the_data_set(root: Path) -> None:
    data = cityscapes(root)
    data.pipeline.transforms[1].reduce_zero_label = True
    with pytest.raises(UserError, match='reduce_zero_label is True in the pipeline'):
        data[0]


def test_labels_that_are_kept_elsewhere_load(root: Path) -> None:
    path = labels_path(root, 'a')
    path.rename(f'{path}.stored')
    load = LoadCheckedLabels(backend_args=dict(backend='mmnv3_elsewhere'))
    found = load.transform(
        dict(
            seg_map_path=str(path), reduce_zero_label=False, num_classes=19,
            seg_fields=[],
        )
    )  # fmt: skip
    assert found['gt_seg_map'].tolist() == [[0, 1, 2, 3, 13, 255]] * 4


@pytest.mark.parametrize(
    ('label', 'good'),
    [(3, True), (-1, False), (0.5, False), (float('nan'), False), (999, False)],
)
def test_labels_in_floats_are_whole_numbers(
    label: float, good: bool, root: Path
) -> None:
    Image.fromarray(np.full((4, 6), label, np.float32)).save(
        labels_path(root, 'a'), 'TIFF'
    )
    if good:
        found = cityscapes(root)[0]['data_samples'].gt_sem_seg.data
        assert found.tolist() == [[[label] * 6] * 4]
        return
    with pytest.raises(UserError, match=rf'label {label:g}; possible are whole'):
        cityscapes(root)[0]


def test_sixteen_bits_may_hold_eight(root: Path) -> None:
    write_labels(root, 'a', np.uint16([[0, 1, 2, 3, 18, 255]] * 4))
    found = cityscapes(root)[0]['data_samples'].gt_sem_seg.data
    assert found.tolist() == [[[0, 1, 2, 3, 18, 255]] * 4]


@pytest.mark.parametrize('content', [b'', b'hello', b'\x89PNG\r\n\x1a\n', bytes(99)])
def test_other_files_are_no_labels(content: bytes, root: Path) -> None:
    labels_path(root, 'a').write_bytes(content)
    with pytest.raises(
        UserError, match=r'TrainIds\.png: (not a readable|the picture is trunc)'
    ):
        cityscapes(root)[0]


def check_mutated_labels(count: int, path: Path) -> None:
    labels = np.uint8([[0, 1, 2, 3, 13, 255]] * 4)
    kinds = {'PNG': labels, 'TIFF': labels.astype(np.float32), 'BMP': labels}
    seeds = []
    for kind, array in kinds.items():
        content = BytesIO()
        Image.fromarray(array).save(content, kind)
        seeds.append(content.getvalue())
    given = dict(
        img_path='a.jpg', ori_shape=(4, 6), seg_map_path=str(path), num_classes=19,
        reduce_zero_label=False,
    )  # fmt: skip
    load = LoadCheckedLabels()
    read = 0
    for seed in range(count):
        path.write_bytes(mutate(seeds[seed % len(seeds)], seed))
        try:
            found = load.transform({**given, 'seg_fields': []})['gt_seg_map']
        except UserError as error:
            assert str(error).startswith(str(path)) and '\n' not in str(error), seed
        else:
            assert found.dtype == np.uint8 and found.shape == (4, 6), seed
            assert found[found != 255].max(initial=0) < 19, seed
            read += 1
    assert 0 < read < count
    assert list(path.parent.iterdir()) == [path]


def test_mutated_labels_are_read_or_told(tmp_path: Path) -> None:
    check_mutated_labels(300, tmp_path / 'a')


@pytest.mark.slow  # As the one above, with many more cases.
def test_many_mutated_labels_are_read_or_told(tmp_path: Path) -> None:
    check_mutated_labels(5000, tmp_path / 'a')


@pytest.mark.parametrize('keep', [0, 0.5])
def test_damaged_labels_are_named(keep: float, root: Path) -> None:
    path = labels_path(root, 'a')
    whole = path.read_bytes()
    path.write_bytes(whole[: int(len(whole) * keep)])
    with pytest.raises(UserError, match=r'a_gtFine_labelTrainIds\.png: '):
        cityscapes(root)[0]


def test_pictures_smaller_than_the_crop_are_padded_with_nothing(root: Path) -> None:
    data = cityscapes(root)
    data.pipeline.transforms.insert(2, RandomCrop(crop_size=(8, 8)))
    sample = data[0]
    prepare = SegDataPreProcessor(size=(8, 8), pad_val=0, seg_pad_val=255)
    batch = prepare(
        dict(inputs=[sample['inputs']], data_samples=[sample['data_samples']]), True
    )
    assert batch['inputs'].shape == (1, 3, 8, 8)
    labels = batch['data_samples'][0].gt_sem_seg.data[0]
    assert labels.shape == (8, 8)
    assert (labels[4:] == 255).all() and (labels[:, 6:] == 255).all()
    assert labels[0, :6].tolist() == [0, 1, 2, 3, 13, 255]
