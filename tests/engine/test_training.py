"""The tools end to end: train, resume after a kill, test, draw, and refuse."""

import json
import os
import pickle
import re
import signal
import subprocess
import sys
from collections.abc import Callable
from importlib.metadata import distributions
from pathlib import Path

import cv2
import pytest
import torch

from tests.engine.conftest import ROOT
from tests.tools import fork_tool


def find_distribution(name: str) -> bool:
    """Whether a distribution is installed."""
    return any(found.name == name for found in distributions())


def weights(path: Path) -> dict[str, torch.Tensor]:
    return torch.load(path, weights_only=True)['state_dict']


def last_line(text: str) -> str:
    return text.strip().splitlines()[-1]


def test_training_leaves_what_a_person_wants_to_see(trained: Path) -> None:
    names = {path.name for path in trained.iterdir()}
    assert {'iter_2.pth', 'iter_4.pth', 'iter_6.pth', 'curves.png'} <= names
    assert any(name.startswith('best_coco_bbox_mAP') for name in names)
    assert cv2.imread(str(trained / 'curves.png')).shape[1] > 1000
    log = next(trained.glob('*/*.log')).read_text()
    assert 'eta:' in log and 'bbox_mAP_copypaste' in log


def test_the_screen_has_lines_and_what_comes_next_but_no_pages(trained: Path) -> None:
    screen = (trained / 'screen.txt').read_text()
    log = next(trained.glob('*/*.log')).read_text()
    for page in ('Hooks will be executed', 'System environment', 'default_hooks'):
        assert page in log and page not in screen
    assert 'Epoch(train)' in screen or 'Iter(train)' in screen
    told, checkpoint, curves, following, *commands = screen.splitlines()[-7:]
    assert re.fullmatch(
        r'trained 6 iterations in 0 min \d+ s; best coco/bbox_mAP \d\.\d{4}', told
    )
    best = checkpoint.removeprefix('checkpoint: ')
    assert Path(best).name.startswith('best_coco_bbox_mAP') and Path(best).is_file()
    assert curves == f'curves: {trained / "curves.png"}' and following == 'next:'
    assert [command.split()[3] for command in commands] == [
        'test',
        'predict',
        'export',
    ]
    assert all(best in command for command in commands)


_repeats_data = pytest.mark.skipif(
    find_distribution('onedl-mmengine'),
    reason="OneDL's mmengine resumes without repeating the random augmentation",
)


def kill_after_four_of_six(config: Path, work_dir: Path, *options: str) -> None:
    work_dir.mkdir(exist_ok=True)
    killed = work_dir / 'killed.py'
    killed.write_text(f"""
_base_ = ['{config}']
custom_imports = dict(imports=['tests.engine.kill_hook'])
custom_hooks = [
    *_base_.custom_hooks, dict(type='mmengine.KillAtIteration', iteration=5)]
""")
    done = fork_tool('train.py', killed, '--work-dir', work_dir, *options)
    assert done.returncode == -signal.SIGKILL, done.stderr
    # Of iteration 4, which a resumed training starts from.
    assert (work_dir / 'iter_4.pth').exists()
    assert not (work_dir / 'iter_6.pth').exists()


def check_same_weights(whole: Path, resumed: Path) -> None:
    expected, found = weights(whole / 'iter_6.pth'), weights(resumed / 'iter_6.pth')
    assert all(torch.equal(expected[key], found[key]) for key in expected)
    started = weights(whole / 'iter_2.pth')
    assert any(not torch.equal(expected[key], started[key]) for key in expected)


@_repeats_data
def test_kill_and_resume_gives_the_weights_of_an_uninterrupted_training(
    trained: Path, config: Path, tool: Callable, tmp_path: Path
) -> None:
    kill_after_four_of_six(config, tmp_path)
    # What a kill while writing leaves behind must not be taken for a checkpoint.
    (tmp_path / 'iter_5.pth.123.tmp').write_bytes(b'half')
    (tmp_path / 'last_checkpoint').write_text('')
    done = tool('train.py', config, '--work-dir', tmp_path, '--resume')
    assert done.returncode == 0, done.stderr
    assert 'resumed epoch: 0, iter: 4' in done.stdout
    check_same_weights(trained, tmp_path)


@pytest.mark.slow(reason='three trainings, in emulated bfloat16 on most machines')
@_repeats_data
@pytest.mark.skipif(torch.cuda.is_available(), reason='a GPU trains in float16')
def test_so_it_does_in_bfloat16(
    trained: Path, config: Path, tool: Callable, tmp_path: Path
) -> None:
    whole, killed = tmp_path / 'whole', tmp_path / 'killed'
    done = tool('train.py', config, '--work-dir', whole, '--amp')
    assert done.returncode == 0, done.stderr
    kill_after_four_of_six(config, killed, '--amp')
    # It goes on as it began, whatever this machine would choose.
    done = tool('train.py', config, '--work-dir', killed, '--resume', '--auto-amp')
    assert done.returncode == 0, done.stderr
    assert '--auto-amp: mixed precision' in done.stdout
    assert 'resumed epoch: 0, iter: 4' in done.stdout
    check_same_weights(whole, killed)
    single, mixed = (weights(each / 'iter_6.pth') for each in (trained, whole))
    assert any(not torch.equal(single[key], mixed[key]) for key in single)


def test_testing_evaluates_dumps_and_draws(
    trained: Path, config: Path, tool: Callable, tmp_path: Path
) -> None:
    done = tool(
        'test.py', config, trained / 'iter_6.pth', '--work-dir', tmp_path,
        '--show-dir', 'pictures', '--out', tmp_path / 'found.pkl',
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert 'coco/bbox_mAP:' in done.stdout
    pictures = list(tmp_path.glob('*/pictures/*.jpg'))
    assert len(pictures) == 4
    with (tmp_path / 'found.pkl').open('rb') as file:
        found = pickle.load(file)
    assert len(found) == 4 and len(found[0]['pred_instances']['scores']) > 0


WRONG = {
    'no such config': (['train.py', 'configs/gone.py'], 'configs/gone.py: there is no'),
    'no such checkpoint': (
        ['test.py', '{config}', 'gone.pth'],
        'gone.pth: there is no such checkpoint',
    ),
    'resume from nothing': (
        ['train.py', '{config}', '--resume', 'gone.pth'],
        'gone.pth: there is no such checkpoint',
    ),
    'a damaged checkpoint to test': (
        ['test.py', '{config}', '{half}'],
        'half.pth cannot be read as a checkpoint, it may be damaged',
    ),
    'a damaged checkpoint to resume from': (
        ['train.py', '{config}', '--resume', '{half}'],
        'half.pth cannot be read as a checkpoint, it may be damaged',
    ),
    'a damaged checkpoint to start from': (
        ['train.py', '{config}', '--cfg-options', 'load_from={half}'],
        'half.pth cannot be read as a checkpoint, it may be damaged',
    ),
    'weights alone to resume from': (
        ['train.py', '{config}', '--resume', '{bare}'],
        'bare.pth holds weights and not where training was; .* load_from=FILE',
    ),
    'an unknown network': (
        ['train.py', '{config}', '--cfg-options', 'model.backbone.arch=huge'],
        "^error: .*'huge'",
    ),
    'an impossible width': (
        ['train.py', '{config}', '--cfg-options', 'model.backbone.width=-1'],
        '^error: .*width',
    ),
    'another num_classes': (
        ['test.py', '{config}', '{trained}/iter_6.pth',
         '--cfg-options', 'model.bbox_head.num_classes=5'],
        'iter_6.pth does not fit this config: .*bbox_head.cls_convs.0.1.weight is '
        r'\(18, .*\(15, .*num_classes',
    ),
    'another architecture': (
        ['train.py', '{config}', '--resume', '{trained}/iter_6.pth',
         '--cfg-options', 'model.backbone.arch=small_minimalistic'],
        'iter_6.pth does not fit this config: .*unknown to the model '
        r'\(backbone.block1.se',
    ),
    'no annotation file': (
        ['train.py', '{config}', '--cfg-options',
         'train_dataloader.dataset.ann_file=gone.json'],
        'gone.json: there is no such annotation file',
    ),
    'other classes in the data': (
        ['train.py', '{config}', '--cfg-options', 'model.bbox_head.num_classes=5'],
        r'num_classes. \(5\) .* 6\) in CheckedCocoDataset: set num_classes',
    ),
    'a loss that is no number': (
        ['train.py', '{config}', '--cfg-options', 'optim_wrapper.optimizer.lr=1e30',
         'optim_wrapper.clip_grad=None', 'train_cfg.max_iters=20'],
        'loss.* is not finite at iteration .*lower optim_wrapper.optimizer.lr',
    ),
    'another form of predictions': (
        ['test.py', '{config}', '{trained}/iter_6.pth', '--out', 'found.csv'],
        'found.csv: must end in .pkl',
    ),
}  # fmt: skip


@pytest.mark.parametrize('case', WRONG)
def test_what_is_wrong_is_said_in_one_line(
    case: str, trained: Path, config: Path, tool: Callable, tmp_path: Path
) -> None:
    args, message = WRONG[case]
    half, bare = tmp_path / 'half.pth', tmp_path / 'bare.pth'
    whole = (trained / 'iter_6.pth').read_bytes()
    half.write_bytes(whole[: len(whole) // 2])
    torch.save(weights(trained / 'iter_6.pth'), bare)
    paths = dict(config=config, trained=trained, half=half, bare=bare)
    args = [arg.format(**paths) for arg in args]
    work_dir = tmp_path / 'work'
    done = tool(*args[:2], '--work-dir', work_dir, *args[2:])
    assert done.returncode == 2, done.stderr
    line = last_line(done.stderr)
    assert line.startswith('error: ')
    assert re.search(message, line), line
    assert 'Traceback' not in done.stderr
    assert not list(work_dir.glob('*.pth')) or case.startswith('a loss')
    # A checkpoint is opened before anything is built.
    assert not work_dir.exists() or 'checkpoint' not in case


def test_a_truncated_picture_is_skipped_in_training_and_named_in_testing(
    trained: Path, config: Path, demo_data: Path, tool: Callable, tmp_path: Path
) -> None:
    train, val = (
        next((demo_data / 'leftImg8bit' / part).rglob('*.jpg'))
        for part in ('train', 'val')
    )
    contents = {path: path.read_bytes() for path in (train, val)}
    try:
        for path, content in contents.items():
            path.write_bytes(content[: len(content) // 2])
        done = tool(
            'train.py', config, '--work-dir', tmp_path, '--cfg-options',
            'train_cfg.val_interval=100', 'train_cfg.val_begin=100',
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
        text = done.stdout + done.stderr
        assert f'{train}: the picture is truncated; skipped, 1 so far' in text
        done = tool('test.py', config, trained / 'iter_6.pth', '--work-dir', tmp_path)
        assert done.returncode == 2
        assert last_line(done.stderr) == f'error: {val}: the picture is truncated'
    finally:
        for path, content in contents.items():
            path.write_bytes(content)


def test_fine_tuning_leaves_the_head_behind_and_says_so(
    trained: Path, config: Path, demo_data: Path, tool: Callable, tmp_path: Path
) -> None:
    classes = 'metainfo.classes=disc,ring,square,triangle,star'
    done = tool(
        'train.py', config, '--work-dir', tmp_path, '--cfg-options',
        f'load_from={trained}/iter_6.pth', 'model.bbox_head.num_classes=5',
        f'train_dataloader.dataset.{classes}', f'val_dataloader.dataset.{classes}',
        'train_cfg.max_iters=1',
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert 'iter_6.pth fits in part (6 of another shape' in (done.stdout + done.stderr)


@pytest.mark.slow
def test_two_processes_train_alike(config: Path, tmp_path: Path) -> None:
    done = subprocess.run(
        ['bash', ROOT / 'tools/dist_train.sh', config, '2', '--work-dir', tmp_path],
        capture_output=True, text=True, timeout=300,
        env={**os.environ, 'PYTHON': sys.executable},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    scalars = next(tmp_path.glob('*/vis_data/scalars.json')).read_text().splitlines()
    losses = [json.loads(line)['loss'] for line in scalars if '"loss"' in line]
    assert len(losses) == 6
    assert (tmp_path / 'iter_6.pth').is_file()
