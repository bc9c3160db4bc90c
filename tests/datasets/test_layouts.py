"""Data of others: the layout, the numbers, and what is refused."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from mmnv3.datasets.layouts import OwnData, look_at
from mmnv3.datasets.layouts.checks import find_trouble
from mmnv3.datasets.layouts.files import file_texts, split_off
from mmnv3.datasets.layouts.samples import part_of
from mmnv3.errors import UserError
from mmnv3.size import Size
from tests.own_sets import (
    CELL,
    draw,
    make_cityscapes,
    make_coco,
    make_folders,
    make_masks,
    make_voc,
    make_yolo,
    voc_text,
)

ROOT = Path(__file__).parents[2]
PLACES = ROOT / 'data/bccd', ROOT / '../shared/data/bccd'
BCCD = next((place for place in PLACES if place.is_dir()), None)


def names(samples: tuple) -> list[str]:
    return [sample.path.name for sample in samples]


# --- the layouts, and their numbers worked by hand


def test_voc_counts_pixels_from_one(tmp_path: Path) -> None:
    # The whole picture of 40 by 20, and columns 3 to 7 of rows 2 to 5.
    objects = [('dust', (1, 1, 40, 20)), ('cell', (3, 2, 7, 5))]
    data = look_at(make_voc(tmp_path, 2, objects), 'detection')
    assert data.layout == 'Pascal VOC XML'
    assert data.classes == ('cell', 'dust')
    sample = data.train[0]
    assert sample.size == Size(40, 20)
    assert sample.boxes.tolist() == [[0, 0, 40, 20], [2, 1, 5, 4]]
    assert sample.labels.tolist() == [1, 0]


def test_voc_that_has_a_corner_of_zero_counts_from_it(tmp_path: Path) -> None:
    data = look_at(make_voc(tmp_path, 2, [('cell', (0, 0, 5, 4))]), 'detection')
    assert data.train[0].boxes.tolist() == [[0, 0, 5, 4]]
    assert 'counted from 0' in data.remarks[0]


def test_voc_lists_and_difficult_objects(tmp_path: Path) -> None:
    make_voc(tmp_path, 4)
    lists = tmp_path / 'ImageSets/Main'
    lists.mkdir(parents=True)
    (lists / 'train.txt').write_text('0\n1\n')
    (lists / 'val.txt').write_text('3\n')
    path = tmp_path / 'Annotations/0.xml'
    path.write_text(
        path.read_text().replace('<bndbox>', '<difficult>1</difficult><bndbox>', 1)
    )
    data = look_at(tmp_path, 'detection')
    assert names(data.train) == ['0.png', '1.png'] and names(data.val) == ['3.png']
    assert data.train[0].ignored.tolist() == [True, False]
    written = json.loads(file_texts(data)['train.json'])
    assert [a['iscrowd'] for a in written['annotations']] == [1, 0, 0, 0]


def test_yolo_counts_fractions_from_the_centre(tmp_path: Path) -> None:
    # 0.25 of 40 pixels are 10, around 20: from 15; 0.4 of 20 are 8, around 6: from 2.
    root = make_yolo(tmp_path, '1 0.5 0.3 0.25 0.4\n0 .25 .5 .5 .5 .25 1\n')
    data = look_at(root, 'detection')
    assert data.layout == 'YOLO txt' and data.classes == ('cell', 'dust')
    first, outline = data.train[0].boxes.tolist()
    assert first == pytest.approx([15, 2, 10, 8])
    # Of the corners (10, 10), (20, 10), (10, 20).
    assert outline == pytest.approx([10, 10, 10, 10])
    assert data.train[0].labels.tolist() == [1, 0]


@pytest.mark.parametrize('train', ['images/train', '../train/images', 'train.txt'])
def test_yolo_settings_tell_the_parts(tmp_path: Path, train: str) -> None:
    folder = 'train/images' if '..' in train else 'images/train'
    for number in range(2):
        draw(tmp_path / folder / f'{number}.png', number)
        path = tmp_path / folder.replace('images', 'labels') / f'{number}.txt'
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text('0 0.5 0.5 0.5 0.5\n')
    draw(tmp_path / folder.replace('train', 'valid') / '9.png', 9)
    (tmp_path / 'train.txt').write_text(f'./{folder}/0.png\n')
    val = folder.replace('train', 'valid')
    (tmp_path / 'data.yaml').write_text(
        f'names: {{0: cell, 1: dust}}\ntrain: {train}\nval: {val}\n'
    )
    data = look_at(tmp_path, 'detection')
    listed = ['0.png'] if train == 'train.txt' else ['0.png', '1.png']
    assert names(data.train) == listed and names(data.val) == ['9.png']
    assert len(data.val[0].boxes) == 0
    assert '1 pictures have no label file' in data.remarks[0]


def test_coco_of_one_file_is_split_and_of_two_is_not(tmp_path: Path) -> None:
    data = look_at(make_coco(tmp_path), 'detection')
    assert data.classes == ('cell', 'dust') and len(data.train) == 5
    assert data.train[0].boxes.tolist() == [[2, 1, 10, 10]] and data.parts is None
    assert 'dust' in data.remarks[0]  # Of which there is no box.
    text = (tmp_path / 'annotations/all.json').read_text()
    for name in ('instances_train2017', 'instances_val2017'):
        (tmp_path / f'annotations/{name}.json').write_text(text)
    data = look_at(tmp_path, 'detection')
    assert data.parts == {
        part: dict(
            ann_file=f'annotations/instances_{part}2017.json',
            data_prefix=dict(img='images/'),
        )
        for part in ('train', 'val')
    }
    assert file_texts(data) == {}


def test_masks_with_a_palette_are_numbers(tmp_path: Path) -> None:
    data = look_at(make_masks(tmp_path), 'segmentation')
    assert data.classes == ('class 0', 'class 1')
    sample = data.train[0]
    # Columns 0 to 9 and 30 to 39 are 0, 10 to 19 are 1, and 20 to 29 nothing.
    assert sample.labels.tolist() == [0, 1] and sample.pixels.tolist() == [400, 200]
    (tmp_path / 'classes.txt').write_text('ground\nroad\nsky\n')
    assert look_at(tmp_path, 'segmentation').classes == ('ground', 'road', 'sky')


def test_cityscapes_has_the_classes_that_occur(tmp_path: Path) -> None:
    data = look_at(make_cityscapes(tmp_path), 'segmentation')
    assert data.classes == ('road', 'car')
    assert data.labels == (0, 13)
    assert data.train[0].labels.tolist() == [0, 1]
    assert (len(data.train), len(data.val)) == (3, 1)
    assert data.parts['val']['data_prefix']['img_path'] == 'leftImg8bit/val'


def test_folders_of_classes(tmp_path: Path) -> None:
    data = look_at(
        make_folders(tmp_path / 'a', {'cat': 5, 'dog': 10}), 'classification'
    )
    assert data.classes == ('cat', 'dog') and data.parts is None
    split = split_off(data)
    # A fifth of each class.
    assert [int(sample.labels[0]) for sample in split.val] == [0, 1, 1]
    line = file_texts(split)['val.txt'].splitlines()[0]
    assert line == f'cat/{split.val[0].path.name} 0'
    parts = {'train/cat': 2, 'train/dog': 2, 'valid/cat': 1, 'valid/dog': 1}
    data = look_at(make_folders(tmp_path / 'b', parts), 'classification')
    assert data.parts['val'] == dict(data_prefix='valid')
    # Folders that lack a class would be numbered otherwise, and so are listed.
    parts = {'train/cat': 2, 'train/dog': 2, 'val/dog': 1}
    data = look_at(make_folders(tmp_path / 'c', parts), 'classification')
    assert data.parts is None
    assert file_texts(data)['val.txt'] == 'val/dog/0.png 1\n'


def test_names_of_parts() -> None:
    assert part_of(['images', 'train2017']) == 'train'
    assert part_of(['Validation']) == part_of(['val_2']) == 'val'
    assert part_of(['trains', 'evaluation']) == ''


# --- the validation set


def test_the_split_is_a_fifth_and_by_seed(tmp_path: Path) -> None:
    data = look_at(make_voc(tmp_path, 10), 'detection')
    split = split_off(data, 3)
    assert len(split.val) == 2 and len(split.train) == 8
    assert sorted(names(split.val + split.train)) == sorted(names(data.train))
    assert names(split_off(data, 3).val) == names(split.val)
    assert any(
        names(split_off(data, seed).val) != names(split.val) for seed in range(5)
    )
    one = look_at(make_voc(tmp_path / 'one', 1), 'detection')
    with pytest.raises(UserError, match='1 pictures, too few to hold some out'):
        split_off(one)


def test_the_same_picture_is_never_on_both_sides(tmp_path: Path) -> None:
    make_voc(tmp_path, 4)
    for number in range(4):
        copy = tmp_path / f'JPEGImages/{number}_again.png'
        copy.write_bytes((tmp_path / f'JPEGImages/{number}.png').read_bytes())
        path = tmp_path / f'Annotations/{number}_again.xml'
        path.write_text(voc_text(copy.name, CELL))
    for seed in range(5):
        split = split_off(look_at(tmp_path, 'detection'), seed)
        held = {name.split('_')[0].removesuffix('.png') for name in names(split.val)}
        assert len(split.val) == 2 and len(held) == 1


# --- what will hurt


def test_trouble_is_told(tmp_path: Path) -> None:
    make_voc(tmp_path, 4, [*CELL, ('dot', (5, 5, 8, 8))])
    make = tmp_path / 'Annotations/3.xml'
    make.write_text(voc_text('3.png', []))
    (tmp_path / 'train').mkdir()
    data = look_at(tmp_path, 'detection')
    data = OwnData(**{**vars(data), 'train': data.train[:3], 'val': data.train[3:]})
    trouble = ' '.join(find_trouble(data, Size(20, 10)))
    # 4 pixels become 2; of each class there are three.
    assert '3 of 9 training boxes are under 4 pixels at 20x10' in trouble
    assert '3 classes have fewer than 20 boxes' in trouble and 'dot (3)' in trouble
    assert '1 of 1 pictures have no boxes' in trouble
    assert '3 classes are in no validation picture' in trouble


def test_pictures_on_both_sides_are_told(tmp_path: Path) -> None:
    parts = {'train/a': 2, 'train/b': 2, 'val/a': 1, 'val/b': 1}
    make_folders(tmp_path, parts)
    copied = tmp_path / 'val/a/0.png'
    copied.write_bytes((tmp_path / 'train/b/1.png').read_bytes())
    trouble = find_trouble(look_at(tmp_path, 'classification'), Size(32, 32))
    told = [text for text in trouble if 'trained on, too' in text]
    assert told and 'val/a/0.png is train/b/1.png' in told[0]
    assert told[0].startswith('1 of 2 validation pictures')


def test_a_class_that_coco_does_not_list_is_told(tmp_path: Path) -> None:
    bad = dict(id=1, image_id=0, category_id=3, bbox=[1, 1, 5, 5], area=25)
    good = dict(id=2, image_id=0, category_id=7, bbox=[1, 1, 5, 5], area=25)
    data = look_at(make_coco(tmp_path, annotations=[bad, good]), 'detection')
    assert any('1 annotations are left out, of cat' in text for text in data.remarks)


# --- refusals


def _remove(name: str) -> Callable[[Path], None]:
    return lambda root: (root / name).unlink()


def _write(name: str, text: str) -> Callable[[Path], None]:
    def write(root: Path) -> None:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text)

    return write


def _voc(root: Path) -> Path:
    return make_voc(root, 2)


def _yolo(root: Path) -> Path:
    return make_yolo(root, '0 0.5 0.5 0.5 0.5\n', 2)


@pytest.mark.parametrize(
    ('make', 'change', 'message'),
    [
        (_voc, _remove('JPEGImages/1.png'), r'1\.xml names the picture 1\.png, wh'),
        (_voc, _write('Annotations/1.xml', '<annotation>'), r'1\.xml is no readable'),
        (
            _voc,
            _write('Annotations/1.xml', voc_text('1.png', CELL, (9, 9))),
            r'of a picture of 9x9 pixels, and .*1\.png has 40x20',
        ),
        (
            _voc,
            _write('Annotations/1.xml', voc_text('1.png', [('a', (5, 5, 99, 9))])),
            r'1\.xml: object 1: \(5, 5, 99, 9\) is no box in a picture of 40x20',
        ),
        (
            _yolo,
            _write('labels/1.txt', '\n2 0.5 0.5 0.5 0.5'),
            r'1\.txt, line 2: there is no class 2; .*classes\.txt names 2, 0 to 1',
        ),
        (_yolo, _write('labels/1.txt', '0 20 10 5 5'), r'1\.txt, line 1: 20 10 5 5 is'),
        (_yolo, _write('labels/1.txt', '0 0.5 nan 1 1'), r'line 1: .* is no label'),
        (_yolo, _write('labels/1.txt', 'cell 0.5 0.5 1 1'), r'line 1: .* is no label'),
        (_yolo, _write('images/1.png', 'text'), r'1\.png: not a readable picture'),
        (_yolo, _remove('classes.txt'), 'YOLO labels and no names of classes'),
        (_yolo, _write('classes.txt', 'a\na\n'), "names the class 'a' twice"),
        (_yolo, _write('data.yaml', 'names: [a]\ntrain: gone'), 'train names gone, wh'),
        (make_coco, _remove('images/3.png'), r'all\.json names .*3\.png, which'),
        (
            make_coco,
            _write('other.json', '{"images": [], "categories": []}'),
            'could both be meant',
        ),
    ],
)
def test_wrong_boxes_are_refused(
    tmp_path: Path, make: Callable, change: Callable, message: str
) -> None:
    change(make(tmp_path))
    with pytest.raises(UserError, match=message) as error:
        look_at(tmp_path, 'detection')
    assert '\n' not in str(error.value)


def _mask(*values: object) -> Callable[[Path], None]:
    return lambda root: Image.fromarray(*values).save(root / 'masks/1.png')


@pytest.mark.parametrize(
    ('change', 'message'),
    [
        (
            _mask(np.zeros((10, 40), np.uint8)),
            r'1\.png is 40x10 pixels and its picture .*1\.jpg 40x20',
        ),
        (_mask(np.zeros((20, 40, 3), np.uint8)), r'1\.png has 3 channels'),
        (_remove('masks/1.png'), r'1\.jpg has no labels; .*1\.png is missing'),
        (_write('classes.txt', 'only\n'), 'holds the label 1, and there are 1 classes'),
    ],
)
def test_wrong_masks_are_refused(
    tmp_path: Path, change: Callable, message: str
) -> None:
    change(make_masks(tmp_path, 2))
    with pytest.raises(UserError, match=message):
        look_at(tmp_path, 'segmentation')


def test_masks_of_black_and_white_are_refused(tmp_path: Path) -> None:
    make_masks(tmp_path, 2, (0, 255))
    with pytest.raises(UserError, match='labels 0, 255, of which 255 counts for noth'):
        look_at(tmp_path, 'segmentation')


def test_cityscapes_takes_its_own_numbers(tmp_path: Path) -> None:
    make_cityscapes(tmp_path, (0, 26))
    with pytest.raises(UserError, match='holds the label 26, and there are 19 classes'):
        look_at(tmp_path, 'segmentation')


def test_classes_to_validate_alone_are_refused(tmp_path: Path) -> None:
    make_folders(tmp_path, {'train/a': 1, 'train/b': 1, 'val/c': 1})
    with pytest.raises(UserError, match=r'val/c is of a class that .*train has not'):
        look_at(tmp_path, 'classification')


@pytest.mark.parametrize(
    ('task', 'signs'),
    [
        ('detection', 'COCO JSON .*YOLO txt .*Pascal VOC XML'),
        ('segmentation', 'Cityscapes .*images/ and masks/'),
        ('classification', 'a folder of pictures for each class'),
    ],
)
def test_no_layout_says_what_was_looked_for(
    tmp_path: Path, task: str, signs: str
) -> None:
    draw(tmp_path / 'a.png')
    with pytest.raises(UserError, match=f'is in no layout for {task} .*: {signs}'):
        look_at(tmp_path, task)
    with pytest.raises(UserError, match='there is no such folder of data'):
        look_at(tmp_path / 'gone', task)


# --- real annotations


@pytest.mark.skipif(BCCD is None, reason='data/bccd is not here')
def test_bccd_from_voc_has_the_boxes_of_its_json(tmp_path: Path) -> None:
    for part in ('train', 'val'):
        data = json.loads((BCCD / f'annotations/{part}.json').read_text())
        labels = {category['id']: category['name'] for category in data['categories']}
        for image in data['images']:
            name = image['file_name']
            folder = tmp_path / 'JPEGImages'
            folder.mkdir(exist_ok=True)
            (folder / name).symlink_to((BCCD / 'images' / name).resolve())
            objects = [
                (labels[a['category_id']], _corners(a['bbox']))
                for a in data['annotations']
                if a['image_id'] == image['id']
            ]
            path = tmp_path / f'Annotations/{Path(name).stem}.xml'
            path.parent.mkdir(exist_ok=True)
            size = image['width'], image['height']
            path.write_text(voc_text(name, objects, size))
    given = look_at(BCCD, 'detection')
    found = look_at(tmp_path, 'detection')
    assert len(found.train) == len(given.samples) == 292
    expected = {sample.path.name: sample for sample in given.samples}
    for sample in found.train:
        other = expected[sample.path.name]
        np.testing.assert_array_equal(sample.boxes, other.boxes)
        assert [found.classes[n] for n in sample.labels] == [
            given.classes[n] for n in other.labels
        ]


def _corners(box: list[float]) -> tuple[int, int, int, int]:
    """VOC's, counted from 1 and both inside."""
    left, top, width, height = map(int, box)
    return left + 1, top + 1, left + width, top + height
