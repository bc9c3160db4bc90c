"""Configs name upstream's loaders, and our data sets check what these would read."""

from pathlib import Path

import cv2
import numpy as np
import pytest
from mmcv.transforms import LoadImageFromFile, RandomChoice, TestTimeAug
from mmengine.config import Config
from mmengine.registry import DATASETS, DefaultScope
from mmseg.datasets.transforms import LoadAnnotations

from mmnv3.datasets import CheckedSegDataset, LoadCheckedImage, LoadCheckedLabels
from mmnv3.errors import UserError

ROOT = Path(__file__).parents[2]
LOAD = dict(type='LoadImageFromFile')
LABELS = dict(type='LoadAnnotations')


@pytest.fixture(autouse=True)
def mmseg_scope():
    with DefaultScope.overwrite_default_scope('mmseg'):
        yield


def build(pipeline: list, **kwargs: object) -> CheckedSegDataset:
    return CheckedSegDataset(
        metainfo=dict(classes=('a', 'b')), lazy_init=True, pipeline=pipeline, **kwargs
    )


@pytest.mark.parametrize(
    ('load', 'labels'),
    [
        (LOAD, LABELS),
        (dict(type='mmcv.LoadImageFromFile'), dict(type='mmseg.LoadAnnotations')),
        (dict(type=LoadImageFromFile), dict(type=LoadAnnotations)),
        (dict(_scope_='mmdet', **LOAD), dict(_scope_='mmseg', **LABELS)),
    ],
)
@pytest.mark.parametrize('test_mode', [False, True])
def test_both_loaders_are_replaced(load: dict, labels: dict, test_mode: bool) -> None:
    given = [dict(load, to_float32=True), labels]
    data = build(given, test_mode=test_mode, ignore_index=9)
    picture, masks = data.pipeline.transforms
    assert type(picture) is LoadCheckedImage and picture.to_float32
    assert picture.skip_damaged is not test_mode
    assert type(masks) is LoadCheckedLabels and masks.ignore_index == 9
    # The config goes on saying what it said.
    assert given == [dict(load, to_float32=True), labels]


def test_also_inside_of_other_transforms() -> None:
    choice = dict(type='RandomChoice', transforms=[[LABELS], [LOAD, LABELS]])
    views = dict(type='TestTimeAug', transforms=[[dict(type='Resize', scale=(9, 8))],
                                                 [LABELS]])  # fmt: skip
    data = build([choice, views])
    choice, views = data.pipeline.transforms
    assert type(choice) is RandomChoice and type(views) is TestTimeAug
    kinds = [[type(t) for t in part.transforms] for part in choice.transforms]
    assert kinds == [[LoadCheckedLabels], [LoadCheckedImage, LoadCheckedLabels]]
    (view,) = views.subroutines
    assert [type(t).__name__ for t in view.transforms] == [
        'Resize',
        'LoadCheckedLabels',
    ]
    assert view.transforms[0].scale == (9, 8)


def test_others_stay_what_they_are() -> None:
    class Own(LoadImageFromFile):
        pass

    data = build([Own(), dict(type='LoadImageFromNDArray'), LoadImageFromFile()])
    names = [type(t).__name__ for t in data.pipeline.transforms]
    assert names == ['Own', 'LoadImageFromNDArray', 'LoadImageFromFile']


def test_labels_have_the_shape_of_the_file_and_not_of_the_resized(
    tmp_path: Path,
) -> None:
    cv2.imwrite(str(tmp_path / 'a.jpg'), np.zeros((20, 30, 3), np.uint8))
    labels = np.ones((20, 30), np.uint8)
    pipeline = [
        LOAD, dict(type='Resize', scale=(60, 40)), LABELS, dict(type='PackSegInputs'),
    ]  # fmt: skip
    for shape, mismatch in (((20, 30), False), ((40, 60), True)):
        cv2.imwrite(str(tmp_path / 'a.png'), np.resize(labels, shape))
        data = CheckedSegDataset(
            metainfo=dict(classes=('a', 'b')), pipeline=pipeline,
            data_prefix=dict(img_path=str(tmp_path), seg_map_path=str(tmp_path)),
        )  # fmt: skip
        if mismatch:
            with pytest.raises(UserError, match='is 60x40 pixels and its picture'):
                data[0]
        else:
            assert data[0]['data_samples'].gt_sem_seg.shape == (20, 30)


def test_wrapped_data_sets_check_too(tmp_path: Path) -> None:
    for name in 'ab':
        cv2.imwrite(str(tmp_path / f'{name}.jpg'), np.zeros((20, 30, 3), np.uint8))
        cv2.imwrite(str(tmp_path / f'{name}.png'), np.zeros((20, 30), np.uint8))
    part = dict(
        type='mmnv3.CheckedSegDataset',
        metainfo=dict(classes=('a', 'b')),
        data_prefix=dict(img_path=str(tmp_path), seg_map_path=str(tmp_path)),
        pipeline=[LOAD, LABELS],
        test_mode=True,
    )
    joined = dict(type='ConcatDataset', datasets=[part, part])
    data = DATASETS.build(dict(type='RepeatDataset', dataset=joined, times=2))
    assert len(data) == 8
    assert all(data[at]['gt_seg_map'].shape == (20, 30) for at in range(8))
    (tmp_path / 'b.png').write_text('hello')
    for at in range(8):
        if at % 2:
            with pytest.raises(UserError, match=r'b\.png: not a readable picture'):
                data[at]
        else:
            assert not data[at]['gt_seg_map'].any()


@pytest.mark.parametrize('path', sorted((ROOT / 'configs').glob('*.py')), ids=str)
def test_our_configs_name_what_the_tools_of_the_toolboxes_look_for(path: Path) -> None:
    config = Config.fromfile(path)
    labels = [] if config.default_scope == 'mmpretrain' else ['LoadAnnotations']
    for loader in ('train_dataloader', 'val_dataloader', 'test_dataloader'):
        dataset = config[loader].dataset
        assert dataset.type.startswith('mmnv3.Checked')
        assert dataset.get('test_mode', False) is (loader != 'train_dataloader')
        found = [t.type for t in dataset.pipeline if 'Load' in t.type]
        assert found == ['LoadImageFromFile', *labels]
        # mmdet's inference takes the loader for the first.
        assert dataset.pipeline[0].type == 'LoadImageFromFile'
    if config.default_scope == 'mmseg':
        # Where mmseg's visualization_cam.py looks for it.
        for key in ('mean', 'std'):
            assert config.data_preprocessor[key] == config.model.data_preprocessor[key]
