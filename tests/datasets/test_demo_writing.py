"""The set on disk, read back with the readers that trainings use."""

from __future__ import annotations

import hashlib
import json
import time
from pathlib import Path

import cv2
import numpy as np
import pytest
from pycocotools.coco import COCO

from mmnv3.datasets.demo import (
    CLASSES,
    SEGMENTATION_CLASSES,
    SEGMENTATION_PALETTE,
    DemoSpec,
    write_demo_data,
    writing,
)
from mmnv3.datasets.demo.writing import annotation_path, image_path, mask_path
from mmnv3.datasets.layouts import look_at
from mmnv3.errors import UserError
from tests.tools import fork, fork_tool

SPEC = DemoSpec(train=24, val=6, seed=5, size=96)


def digests(root: Path) -> dict[str, str]:
    return {
        str(path.relative_to(root)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(root.rglob('*'))
        if path.is_file()
    }


@pytest.fixture(scope='module')
def demo(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp('data') / 'demo'
    assert write_demo_data(out, SPEC, workers=1)
    return out


def test_layout(demo: Path) -> None:
    expected = {str(annotation_path(split)) for split in ('train', 'val')}
    for split in ('train', 'val'):
        for number in range(1, SPEC.count(split) + 1):
            stem = f'{split}/demo/demo_{number:06d}'
            expected.add(f'leftImg8bit/{stem}_leftImg8bit.jpg')
            expected.add(f'gtFine/{stem}_gtFine_labelTrainIds.png')
    assert set(digests(demo)) == expected
    assert [path.name for path in demo.parent.iterdir()] == ['demo']


@pytest.mark.parametrize(
    ('task', 'layout'), [('detection', 'COCO JSON'), ('segmentation', 'Cityscapes')]
)
def test_it_is_a_layout_of_own_data(demo: Path, task: str, layout: str) -> None:
    data = look_at(demo, task)
    assert data.layout == layout
    assert (len(data.train), len(data.val)) == (SPEC.train, SPEC.val)
    assert {sample.path.parts[-3] for sample in data.val} == {'val'}


def test_bytes_do_not_depend_on_workers(demo: Path, tmp_path: Path) -> None:
    write_demo_data(tmp_path / 'demo', SPEC, workers=4)
    assert digests(tmp_path / 'demo') == digests(demo)


def test_seed_changes_and_count_keeps_pictures(demo: Path, tmp_path: Path) -> None:
    write_demo_data(tmp_path / 'few', DemoSpec(2, 1, seed=5, size=96), workers=1)
    write_demo_data(tmp_path / 'other', DemoSpec(2, 1, seed=6, size=96), workers=1)
    name = image_path('train', 2)
    assert (tmp_path / 'few' / name).read_bytes() == (demo / name).read_bytes()
    assert (tmp_path / 'other' / name).read_bytes() != (demo / name).read_bytes()


def test_train_and_val_share_no_picture(demo: Path) -> None:
    pictures = [v for k, v in digests(demo).items() if k.startswith('leftImg8bit')]
    assert len(set(pictures)) == len(pictures) == SPEC.train + SPEC.val


@pytest.mark.parametrize('split', ['train', 'val'])
def test_coco_reads_it_and_agrees_with_class_maps(demo: Path, split: str) -> None:
    coco = COCO(demo / annotation_path(split))
    assert [c['name'] for c in coco.loadCats(coco.getCatIds())] == list(CLASSES)
    assert len(coco.getImgIds()) == SPEC.count(split)
    for image_id in coco.getImgIds():
        entry = coco.loadImgs(image_id)[0]
        picture = cv2.imread(str(demo / 'leftImg8bit' / split / entry['file_name']))
        assert picture.shape == (entry['height'], entry['width'], 3) == (96, 96, 3)

        drawn = np.zeros((96, 96), np.uint8)
        for found in coco.loadAnns(coco.getAnnIds(image_id)):
            mask = coco.annToMask(found).astype(bool)
            rows, columns = np.nonzero(mask)
            low = [columns.min(), rows.min()]
            high = [columns.max() + 1, rows.max() + 1]
            assert found['bbox'] == [*low, high[0] - low[0], high[1] - low[1]]
            assert found['area'] == mask.sum()
            assert not drawn[mask].any()
            drawn[mask] = found['category_id']
        class_map = cv2.imread(
            str(demo / mask_path(split, image_id)), cv2.IMREAD_UNCHANGED
        )
        assert class_map.dtype == np.uint8
        np.testing.assert_array_equal(class_map, drawn)


def test_all_classes_occur(demo: Path) -> None:
    coco = COCO(demo / annotation_path('train'))
    used = {found['category_id'] for found in coco.anns.values()}
    assert used == set(coco.getCatIds()) == set(range(1, len(CLASSES) + 1))


def test_mmdet_reads_it(demo: Path) -> None:
    pytest.importorskip('mmdet')
    from mmdet.datasets import CocoDataset

    data = CocoDataset(
        data_root=str(demo),
        ann_file=str(annotation_path('train')),
        data_prefix={'img': 'leftImg8bit/train/'},
        metainfo={'classes': CLASSES},
        filter_cfg={'filter_empty_gt': True, 'min_size': 1},
        pipeline=[],
    )
    assert len(data) == SPEC.train
    sample = data.get_data_info(0)
    assert Path(sample['img_path']) == demo / image_path('train', 1)
    labels = [found['bbox_label'] for found in sample['instances']]
    assert labels == SPEC.scene('train', 1).labels.tolist()


def test_mmseg_reads_it(demo: Path) -> None:
    pytest.importorskip('mmseg')
    from mmseg.datasets import BaseSegDataset

    data = BaseSegDataset(
        data_root=str(demo),
        data_prefix={'img_path': 'leftImg8bit/val', 'seg_map_path': 'gtFine/val'},
        img_suffix='_leftImg8bit.jpg',
        seg_map_suffix='_gtFine_labelTrainIds.png',
        metainfo={'classes': SEGMENTATION_CLASSES, 'palette': SEGMENTATION_PALETTE},
        pipeline=[],
    )
    assert len(data) == SPEC.val
    sample = data.get_data_info(0)
    assert Path(sample['img_path']) == demo / image_path('val', 1)
    assert Path(sample['seg_map_path']) == demo / mask_path('val', 1)


def small(out: Path) -> DemoSpec:
    spec = DemoSpec(train=2, val=1, size=64)
    write_demo_data(out, spec, workers=1)
    return spec


def test_second_run_changes_nothing(tmp_path: Path) -> None:
    spec = small(tmp_path / 'demo')
    before = {p: p.stat().st_mtime_ns for p in tmp_path.rglob('*')}
    assert not write_demo_data(tmp_path / 'demo', spec, workers=1)
    assert {p: p.stat().st_mtime_ns for p in tmp_path.rglob('*')} == before


def test_other_parameters_are_refused(tmp_path: Path) -> None:
    small(tmp_path / 'demo')
    wanted = DemoSpec(train=2, val=1, size=64, seed=1)
    with pytest.raises(UserError, match=r'seed=0, asked for seed=1: delete it'):
        write_demo_data(tmp_path / 'demo', wanted, workers=1)


def test_older_generator_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    spec = small(tmp_path / 'demo')
    monkeypatch.setattr(writing, 'GENERATOR_VERSION', 1000)
    with pytest.raises(UserError, match='asked for version=1000'):
        write_demo_data(tmp_path / 'demo', spec, workers=1)


@pytest.mark.parametrize(
    'path', [image_path('train', 2), mask_path('val', 1)], ids=['image', 'mask']
)
def test_missing_file_is_named(tmp_path: Path, path: Path) -> None:
    spec = small(tmp_path / 'demo')
    (tmp_path / 'demo' / path).unlink()
    with pytest.raises(UserError, match=f'{path.name} is missing: delete it'):
        write_demo_data(tmp_path / 'demo', spec, workers=1)


@pytest.mark.parametrize('text', ['', '[]', '{"info": "none"}', '{"images": []}'])
def test_damaged_json_is_named(tmp_path: Path, text: str) -> None:
    spec = small(tmp_path / 'demo')
    (tmp_path / 'demo' / annotation_path('val')).write_text(text)
    with pytest.raises(UserError, match=r'instances_val\.json is no readable'):
        write_demo_data(tmp_path / 'demo', spec, workers=1)


def test_foreign_folder_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / 'thesis.tex').write_text('years of work')
    with pytest.raises(UserError, match='delete it, or choose another --out'):
        write_demo_data(tmp_path, DemoSpec(1, 1, size=64), workers=1)
    assert [path.name for path in tmp_path.iterdir()] == ['thesis.tex']


def test_empty_folder_is_used(tmp_path: Path) -> None:
    (tmp_path / 'demo').mkdir()
    small(tmp_path / 'demo')
    assert (tmp_path / 'demo' / annotation_path('val')).is_file()


def test_failed_run_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full_disk(path: Path, *_: object) -> None:
        assert path.is_relative_to(tmp_path)
        if '000002' in path.name:
            raise OSError(28, 'No space left on device')

    monkeypatch.setattr(writing, '_write_image', full_disk)
    with pytest.raises(OSError, match='No space left'):
        small(tmp_path / 'demo')
    assert list(tmp_path.iterdir()) == []


def test_killed_run_leaves_no_target_and_is_swept_later(tmp_path: Path) -> None:
    out = tmp_path / 'demo'
    run = fork(write_demo_data, out, DemoSpec(train=100_000))
    deadline = time.monotonic() + 60
    while not list(tmp_path.rglob('*.jpg')) and time.monotonic() < deadline:
        time.sleep(0.01)
    run.kill()
    run.join()
    assert not out.exists()
    assert len(list(tmp_path.iterdir())) == 1
    small(out)
    assert list(tmp_path.iterdir()) == [out]


@pytest.mark.parametrize(
    ('values', 'message'),
    [
        ({'train': 0}, 'train=0: choose 1 to 999999'),
        ({'val': -3}, 'val=-3: choose'),
        ({'val': 1_000_000}, 'val=1000000: choose'),
        ({'seed': -1}, 'seed=-1: choose 0 or more'),
        ({'size': 32}, 'size=32: choose 64 to 2048'),
    ],
)
def test_spec_is_checked_early(values: dict[str, int], message: str) -> None:
    with pytest.raises(UserError, match=message):
        DemoSpec(**values)


def test_tool_writes_says_so_and_refuses_in_one_line(tmp_path: Path) -> None:
    out = str(tmp_path / 'new' / 'demo')
    sizes = ('--train', '3', '--val', '2', '--size', '64')
    first = fork_tool('demo_data.py', '--out', out, *sizes)
    assert first.returncode == 0, first.stderr
    assert '3 training and 2 validation pictures written' in first.stdout
    again = fork_tool('demo_data.py', '--out', out, *sizes)
    assert again.returncode == 0 and 'already there' in again.stdout
    for wrong in (('--out', out, '--seed', '9'), ('--out', out, '--size', '7')):
        refused = fork_tool('demo_data.py', *wrong)
        assert refused.returncode == 2
        assert len(refused.stderr.strip().splitlines()) == 1
    assert json.loads(Path(out, annotation_path('val')).read_text())['info']['val'] == 2
