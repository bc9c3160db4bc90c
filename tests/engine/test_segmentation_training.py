"""A segmenter by the real tools: train, resume, test, draw, and refuse."""

import re
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest

from tests.engine.conftest import ROOT


@pytest.fixture(scope='module')
def segmentation_config(demo_data: Path) -> Path:
    """A shallow segmenter on the small set, with a checkpoint every 2 steps."""
    path = demo_data.parent / 'tiny_segmentation.py'
    path.write_text(f"""
_base_ = ['{ROOT}/tests/configs/lraspp_shallow.py']
train_dataloader = dict(
    batch_size=4, num_workers=1, dataset=dict(data_root='{demo_data}'))
val_dataloader = dict(num_workers=1, dataset=dict(data_root='{demo_data}'))
test_dataloader = val_dataloader
train_cfg = dict(max_iters=4, val_interval=4)
default_hooks = dict(checkpoint=dict(interval=2), logger=dict(interval=1))
""")
    return path


@pytest.fixture(scope='module')
def segmenter(segmentation_config: Path, tool: Callable, tmp_path_factory) -> Path:
    """A work directory of a training that was stopped and resumed."""
    work_dir = tmp_path_factory.mktemp('segmenter')
    for options in ((), ('--resume', '--cfg-options', 'train_cfg.max_iters=6')):
        done = tool('train.py', segmentation_config, '--work-dir', work_dir, *options)
        assert done.returncode == 0, done.stderr
    return work_dir


def test_training_leaves_checkpoints_and_curves(segmenter: Path) -> None:
    names = {path.name for path in segmenter.iterdir()}
    assert {'iter_2.pth', 'iter_4.pth', 'iter_6.pth', 'curves.png'} <= names
    assert any(name.startswith('best_mIoU') for name in names)
    log = max(segmenter.glob('*/*.log')).read_text()
    assert 'background' in log and 'mIoU' in log


def test_testing_draws_overlays_with_a_legend(
    segmenter: Path, segmentation_config: Path, tool: Callable, tmp_path: Path
) -> None:
    done = tool(
        'test.py', segmentation_config, segmenter / 'iter_6.pth',
        '--work-dir', tmp_path, '--show-dir', 'pictures',
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert 'mIoU' in done.stdout
    pictures = sorted(tmp_path.glob('*/pictures/*.png'))
    assert len(pictures) == 4
    # Truth and prediction side by side, 128 pixels each, and the legend below.
    height, width = cv2.imread(str(pictures[0])).shape[:2]
    assert width == 256 and height > 128


def test_sliding_windows_test_too(
    segmenter: Path, segmentation_config: Path, tool: Callable, tmp_path: Path
) -> None:
    done = tool(
        'test.py', segmentation_config, segmenter / 'iter_6.pth',
        '--work-dir', tmp_path, '--cfg-options', 'model.test_cfg.mode=slide',
        'model.test_cfg.crop_size=(65,97)', 'model.test_cfg.stride=(33,40)',
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert 'mIoU' in done.stdout


WRONG = {
    'no such folder': (
        ['train_dataloader.dataset.data_prefix.img_path=gone'],
        'gone: there is no such folder; set data_root and data_prefix.img_path',
    ),
    'no such pictures': (
        ['train_dataloader.dataset.img_suffix=.tif'],
        r'holds no picture \*\.tif',
    ),
    'no labels': (
        ['train_dataloader.dataset.seg_map_suffix=.tif'],
        '16 of 16 pictures have no labels; the first that is missing is ',
    ),
    'other classes in the data': (
        ['model.decode_head.num_classes=9'],
        'num_classes. .9. .* 7. in CheckedSegDataset: set num_classes',
    ),
    'one picture to pool over': (
        ['model.decode_head.type=mmnv3.RASPPHead', 'model.decode_head.in_channels=288',
         'model.decode_head.pool=global', 'train_dataloader.batch_size=1'],
        'train it with batch_size=2 or more',
    ),
}  # fmt: skip


@pytest.mark.parametrize('case', WRONG)
def test_what_is_wrong_is_said_in_one_line(
    case: str, segmentation_config: Path, tool: Callable, tmp_path: Path
) -> None:
    options, message = WRONG[case]
    done = tool(
        'train.py', segmentation_config, '--work-dir', tmp_path,
        '--cfg-options', *options,
    )  # fmt: skip
    assert done.returncode == 2, done.stderr
    line = done.stderr.strip().splitlines()[-1]
    assert line.startswith('error: ') and re.search(message, line), line
    assert 'Traceback' not in done.stderr


def test_labels_that_are_no_classes_are_named_while_training(
    segmentation_config: Path, demo_data: Path, tool: Callable, tmp_path: Path
) -> None:
    path = sorted(demo_data.glob('gtFine/train/*/*_labelTrainIds.png'))[0]
    whole = path.read_bytes()
    cv2.imwrite(str(path), np.full((128, 128), 7, np.uint8))
    try:
        done = tool('train.py', segmentation_config, '--work-dir', tmp_path)
    finally:
        path.write_bytes(whole)
    assert done.returncode == 2, done.stderr
    assert f'{path.name} holds the label 7; with 7 classes' in done.stderr
    assert 'Traceback' not in done.stderr


def test_a_checkpoint_of_another_head_is_refused(
    segmenter: Path, segmentation_config: Path, tool: Callable, tmp_path: Path
) -> None:
    done = tool(
        'test.py', segmentation_config, segmenter / 'iter_6.pth',
        '--work-dir', tmp_path, '--cfg-options', 'model.decode_head.channels=256',
    )  # fmt: skip
    assert done.returncode == 2, done.stderr
    assert re.search(
        r'error: .*iter_6\.pth does not fit this config: .*decode_head\.conv_seg',
        done.stderr,
    )
