"""A classifier by the real tools: train, resume, test, draw."""

from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch

from tests.engine.conftest import ROOT


@pytest.fixture(scope='module')
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Eight pictures of two classes in ImageNet's layout, and the config on them."""
    folder = tmp_path_factory.mktemp('imagenet')
    rng = np.random.default_rng(0)
    for split in ('train', 'val'):
        for label in ('n01440764', 'n01443537'):
            for index in range(4):
                path = folder / split / label / f'{index}.jpg'
                path.parent.mkdir(parents=True, exist_ok=True)
                cv2.imwrite(str(path), rng.integers(0, 256, (70, 90, 3), np.uint8))
        lines = [f'n01440764/{n}.jpg 0\nn01443537/{n}.jpg 1\n' for n in range(4)]
        (folder / f'{split}.txt').write_text(''.join(lines))
    (folder / 'tiny.py').write_text(f"""
_base_ = ['{ROOT}/tests/configs/classifier_shallow.py']
# Small pictures, which make the network no other one.
train_pipeline = [
    dict(type='LoadImageFromFile'),
    dict(type='RandomResizedCrop', scale=64),
    dict(type='RandomFlip', prob=0.5),
    dict(type='ColorJitter', brightness=32 / 255, saturation=0.5),
    dict(type='PackInputs'),
]
test_pipeline = [
    dict(type='LoadImageFromFile'),
    dict(type='ResizeEdge', scale=73, edge='short'),
    dict(type='CenterCrop', crop_size=64),
    dict(type='PackInputs'),
]
train_dataloader = dict(
    batch_size=4, num_workers=1, dataset=dict(
        data_root='{folder}', ann_file='train.txt', pipeline=train_pipeline))
val_dataloader = dict(
    batch_size=4, num_workers=1, dataset=dict(
        data_root='{folder}', ann_file='val.txt', pipeline=test_pipeline))
test_dataloader = val_dataloader
train_cfg = dict(max_epochs=1, val_interval=1)
default_hooks = dict(logger=dict(interval=1))
""")
    return folder


def test_train_resume_and_test(folder: Path, tool: Callable, tmp_path: Path) -> None:
    config = folder / 'tiny.py'
    for options in ((), ('--resume', '--cfg-options', 'train_cfg.max_epochs=2')):
        done = tool('train.py', config, '--work-dir', tmp_path, *options)
        assert done.returncode == 0, done.stderr
    names = {path.name for path in tmp_path.iterdir()}
    assert {'epoch_2.pth', 'curves.png'} <= names
    assert any(name.startswith('best_accuracy_top1') for name in names)
    saved = torch.load(tmp_path / 'epoch_2.pth', weights_only=True)
    # The average of the weights is kept beside them.
    assert 'ema_state_dict' in saved
    done = tool(
        'test.py', config, tmp_path / 'epoch_2.pth', '--work-dir', tmp_path,
        '--show-dir', 'pictures',
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert 'accuracy/top1' in done.stdout
    # The pictures of both classes have the same four names, and none covers another.
    assert len(list(tmp_path.glob('*/pictures/*.png'))) == 8


def test_another_number_of_classes_is_said(
    folder: Path, tool: Callable, tmp_path: Path
) -> None:
    done = tool(
        'train.py', folder / 'tiny.py', '--work-dir', tmp_path,
        '--cfg-options', 'model.head.num_classes=10',
    )  # fmt: skip
    assert done.returncode == 2, done.stderr
    assert 'set num_classes and metainfo.classes' in done.stderr
