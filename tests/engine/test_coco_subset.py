"""The paper's detector on real COCO images, as far as a CPU gets in minutes."""

import json
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
COCO = next(
    (p for p in (ROOT / 'data/coco', ROOT / '../shared/data/coco') if p.is_dir()),
    ROOT / 'data/coco',
)
CONFIG = ROOT / 'configs/ssdlite_mnv3_large_coco.py'
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not COCO.is_dir(), reason=f'no COCO at {COCO}'),
]


def last_metric(work_dir: Path, name: str) -> float:
    """The metric of the last validation."""
    scalars = sorted(work_dir.glob('*/vis_data/scalars.json'))[-1]
    rows = [json.loads(line) for line in scalars.read_text().splitlines()]
    return [row[name] for row in rows if name in row][-1]


def data_options(folder: Path = COCO) -> list[str]:
    return [
        f'{loader}.dataset.data_root={folder}/'
        for loader in ('train_dataloader', 'val_dataloader')
    ] + [f'val_evaluator.ann_file={folder}/annotations/instances_val2017.json']


def run(tool: Callable, *args: object) -> subprocess.CompletedProcess:
    done = tool('train.py', *args)
    assert done.returncode == 0, done.stderr
    return done


def test_starts_checkpoints_resumes_and_evaluates(
    tool: Callable, tmp_path: Path
) -> None:
    common = [CONFIG, '--work-dir', tmp_path, '--cfg-options', *data_options()]
    run(tool, *common, 'train_cfg.max_iters=2')
    assert (tmp_path / 'iter_2.pth').is_file()
    resumed = [CONFIG, '--work-dir', tmp_path, '--resume', '--cfg-options']
    done = run(tool, *resumed, *data_options(), 'train_cfg.max_iters=3')
    assert 'iter: 2' in done.stdout
    assert 'Average Precision' in done.stdout
    assert 0 <= last_metric(tmp_path, 'coco/bbox_mAP') < 0.5


def test_overfits_eight_images(tool: Callable, tmp_path: Path) -> None:
    """On what it has seen a thousand times a detector must be nearly perfect."""
    data = json.loads((COCO / 'annotations/instances_train2017.json').read_text())
    # Objects that its smallest anchor of 32 of 320 pixels can be expected to find.
    sizes = {image['id']: image['width'] * image['height'] for image in data['images']}
    small = {
        item['image_id']
        for item in data['annotations']
        if item['iscrowd'] or item['area'] < 0.004 * sizes[item['image_id']]
    }
    used = {item['image_id'] for item in data['annotations']}
    chosen = [im for im in data['images'] if im['id'] in used - small][:8]
    ids = {image['id'] for image in chosen}
    assert len(ids) == 8
    data['images'] = chosen
    data['annotations'] = [a for a in data['annotations'] if a['image_id'] in ids]
    (tmp_path / 'eight.json').write_text(json.dumps(data))
    config = tmp_path / 'eight.py'
    config.write_text(f"""
_base_ = ['{CONFIG}']
data = dict(
    data_root='', ann_file='{tmp_path}/eight.json',
    data_prefix=dict(img='{COCO}/train2017/'))
train_dataloader = dict(
    batch_size=8,
    dataset=dict(**data, pipeline=[
        dict(type='mmnv3.LoadCheckedImage'),
        dict(type='LoadAnnotations', with_bbox=True),
        dict(type='Resize', scale=(320, 320), keep_ratio=False),
        dict(type='PackDetInputs')]))
val_dataloader = dict(batch_size=8, dataset=dict(**data))
val_evaluator = dict(ann_file='{tmp_path}/eight.json')
train_cfg = dict(max_iters=300, val_interval=300)
optim_wrapper = dict(
    optimizer=dict(lr=0.05), clip_grad=dict(max_norm=10))
auto_scale_lr = dict(enable=False)
param_scheduler = [
    dict(type='LinearLR', start_factor=0.1, by_epoch=False, begin=0, end=30),
    dict(type='CosineAnnealingLR', by_epoch=False, begin=30, end=300, T_max=270)]
""")
    run(tool, config, '--work-dir', tmp_path / 'work')
    assert last_metric(tmp_path / 'work', 'coco/bbox_mAP_50') > 0.9
