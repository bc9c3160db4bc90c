"""A small detector on a small generated set, trained by the real tools."""

from collections.abc import Callable
from pathlib import Path

import pytest

from mmnv3.datasets.demo import DemoSpec, write_demo_data
from tests.tools import Completed, fork_tool

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope='session')
def demo_data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp('data') / 'demo'
    write_demo_data(out, DemoSpec(train=16, val=4, size=128))
    return out


@pytest.fixture(scope='session')
def config(demo_data: Path) -> Path:
    """A shallow detector on it, at 128 pixels, with a checkpoint every 2 steps."""
    path = demo_data.parent / 'tiny_demo.py'
    path.write_text(f"""
_base_ = ['{ROOT}/tests/configs/ssdlite_shallow.py']
data_root = '{demo_data}/'
resize = dict(type='Resize', scale=(128, 128), keep_ratio=False)
train_pipeline = [
    dict(type='mmnv3.LoadCheckedImage', skip_damaged=True),
    dict(type='LoadAnnotations', with_bbox=True),
    dict(type='RandomFlip', prob=0.5),
    dict(type='MinIoURandomCrop'),
    resize,
    dict(type='FilterAnnotations', min_gt_bbox_wh=(1, 1)),
    dict(type='PackDetInputs'),
]
test_pipeline = [
    dict(type='mmnv3.LoadCheckedImage'),
    resize,
    dict(type='LoadAnnotations', with_bbox=True),
    dict(type='PackDetInputs', meta_keys=(
        'img_id', 'img_path', 'ori_shape', 'img_shape', 'scale_factor')),
]
model = dict(bbox_head=dict(anchor_generator=dict(input_size=128)))
train_dataloader = dict(
    batch_size=4, num_workers=1,
    dataset=dict(data_root=data_root, pipeline=train_pipeline))
val_dataloader = dict(
    batch_size=2, num_workers=1,
    dataset=dict(data_root=data_root, pipeline=test_pipeline))
test_dataloader = val_dataloader
val_evaluator = dict(ann_file=data_root + 'annotations/instances_val.json')
test_evaluator = val_evaluator
train_cfg = dict(max_iters=6, val_interval=100)
default_hooks = dict(
    checkpoint=dict(interval=2, max_keep_ckpts=9), logger=dict(interval=1))
""")
    return path


@pytest.fixture(scope='session')
def tool() -> Callable[..., Completed]:
    """Runs a tool to its end."""
    return fork_tool


@pytest.fixture(scope='session')
def trained(config: Path, tool: Callable, tmp_path_factory) -> Path:
    """The work directory of an uninterrupted training."""
    work_dir = tmp_path_factory.mktemp('work')
    done = tool('train.py', config, '--work-dir', work_dir)
    assert done.returncode == 0, done.stderr
    (work_dir / 'screen.txt').write_text(done.stdout)
    return work_dir
