"""Data sets in other layouts: what is read of them is what was written."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from mmnv3.datasets.layouts import OwnData, look_at
from studies.layouts import LAYOUTS, main
from tests.own_sets import make_cityscapes, make_coco


def read(root: Path, task: str) -> OwnData:
    return look_at(root, task)


@pytest.mark.parametrize('layout', ['voc', 'yolo'])
def test_boxes_are_the_same_in_another_layout(tmp_path: Path, layout: str) -> None:
    rows = [
        dict(id=1, image_id=0, category_id=9, bbox=[0, 3, 40, 5], area=200, iscrowd=0),
        dict(id=2, image_id=0, category_id=7, bbox=[2, 1, 1, 9], area=9, iscrowd=0),
        dict(id=3, image_id=2, category_id=7, bbox=[5, 6, 7, 8], area=56, iscrowd=0),
    ]
    (tmp_path / 'coco').mkdir()
    before = read(make_coco(tmp_path / 'coco', 3, annotations=rows), 'detection')
    out = tmp_path / 'out'
    main([layout, str(out), str(tmp_path / 'coco')])
    after = read(out, 'detection')
    assert after.layout != before.layout
    found = {picture.path.name: picture for picture in after.samples}
    for picture in before.samples:
        other = found[picture.path.name]
        names = [
            [data.classes[label] for label in sample.labels]
            for data, sample in ((before, picture), (after, other))
        ]
        assert names[0] == names[1]
        # YOLO's six digits, of 40 pixels.
        np.testing.assert_allclose(other.boxes, picture.boxes, atol=1e-4)


def test_crowds_are_difficult_in_voc_and_left_out_of_yolo(tmp_path: Path) -> None:
    rows = [
        dict(id=1, image_id=0, category_id=9, bbox=[0, 3, 40, 5], area=200, iscrowd=1),
        dict(id=2, image_id=0, category_id=7, bbox=[2, 1, 1, 9], area=9, iscrowd=0),
    ]
    (tmp_path / 'coco').mkdir()
    source = make_coco(tmp_path / 'coco', 3, annotations=rows)
    main(['voc', str(tmp_path / 'voc'), str(source)])
    main(['yolo', str(tmp_path / 'yolo'), str(source)])
    (marked,) = [
        picture
        for picture in read(tmp_path / 'voc', 'detection').samples
        if picture.ignored.any()
    ]
    assert marked.ignored.tolist() == [True, False]
    lines = (tmp_path / 'yolo/labels/train/0.txt').read_text().split('\n')
    assert lines == ['0 0.062500 0.275000 0.025000 0.450000', '']


def test_only_pictures_of_wanted_classes(tmp_path: Path) -> None:
    rows = [
        dict(id=1, image_id=0, category_id=7, bbox=[0, 3, 40, 5], area=200, iscrowd=0),
        dict(id=2, image_id=1, category_id=7, bbox=[2, 1, 1, 9], area=9, iscrowd=0),
        dict(id=3, image_id=1, category_id=9, bbox=[2, 3, 4, 9], area=9, iscrowd=0),
    ]
    (tmp_path / 'coco').mkdir()
    source = make_coco(tmp_path / 'coco', 3, annotations=rows)
    main(['yolo', str(tmp_path / 'yolo'), str(source), '--classes', 'dust'])
    data = read(tmp_path / 'yolo', 'detection')
    assert data.classes == ('dust',)
    (picture,) = data.samples
    np.testing.assert_allclose(picture.boxes, [[2, 3, 4, 9]], atol=1e-4)
    with pytest.raises(SystemExit):
        main(['yolo', str(tmp_path / 'more'), str(source), '--classes', 'cat'])


def test_masks_are_numbered_without_gaps(
    tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    (tmp_path / 'city').mkdir()
    source = make_cityscapes(tmp_path / 'city', labels=(0, 13, 255))
    out = tmp_path / 'out'
    main(['masks', str(out), str(source)])
    data = read(out, 'segmentation')
    assert (data.layout, data.classes) == ('images/ and masks/', ('road', 'car'))
    labels = {value for path in out.glob('masks/*/*') for value in pixels(path)}
    assert labels == {0, 1, 255}
    main(['masks', str(out), str(source)])
    assert 'is there already' in capsys.readouterr().out


def pixels(path: Path) -> set[int]:
    return set(np.unique(np.asarray(Image.open(path))).tolist())


def test_folders_have_what_is_in_the_boxes(tmp_path: Path) -> None:
    rows = [
        # From 2.5 to 7.25 across, and from 3 to 9 down.
        dict(
            id=1, image_id=0, category_id=7, bbox=[2.5, 3, 4.75, 6], area=9, iscrowd=0
        ),
        dict(id=2, image_id=0, category_id=9, bbox=[1, 1, 9, 9], area=9, iscrowd=1),
        dict(id=3, image_id=2, category_id=7, bbox=[5, 6, 7, 8], area=56, iscrowd=0),
    ]
    (tmp_path / 'coco').mkdir()
    source = make_coco(tmp_path / 'coco', 3, annotations=rows)
    before = read(source, 'detection')
    main(['folders', str(tmp_path / 'folders'), str(source)])
    files = sorted((tmp_path / 'folders').glob('*/*/*'))
    assert {file.parent.name for file in files} == {before.classes[0]}
    (first,) = [file for file in files if file.stem == '0_0']
    (picture,) = [each for each in before.samples if each.path.stem == '0']
    whole = np.asarray(Image.open(picture.path).convert('RGB'))
    np.testing.assert_array_equal(np.asarray(Image.open(first)), whole[3:9, 2:8])


def test_every_layout_is_tried() -> None:
    assert set(LAYOUTS) == {'voc', 'yolo', 'masks', 'folders'}
