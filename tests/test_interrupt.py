"""Ctrl-C ends a tool with one line and status 130, and all its processes."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import cv2
import pytest

from mmnv3.datasets.demo import DemoSpec, write_demo_data
from mmnv3.deploy.video import write_video
from mmnv3.search.latency.table import LatencyTable
from tests.tools import TOOLS

CONFIG = TOOLS.parent / 'configs' / 'ssdlite_mnv3_small_demo.py'

pytestmark = pytest.mark.slow  # Each starts a tool, which takes ten seconds and more.

_TOLD = {signal.SIGINT: 'interrupted', signal.SIGTERM: 'terminated'}


def interrupt(
    name: str,
    args: list[object],
    folder: Path,
    works: Callable[[], bool],
    by: signal.Signals = signal.SIGINT,
) -> None:
    """Starts a tool, stops it by a signal once it works, and checks how it ends."""
    with (folder / 'told').open('wb') as told, (folder / 'wrong').open('wb') as wrong:
        process = subprocess.Popen(
            [sys.executable, TOOLS / name, *map(str, args)],
            stdout=told,
            stderr=wrong,
            env={**os.environ, 'PYTHONPATH': str(TOOLS.parent)},
            # A terminal sends Ctrl-C to all processes of its group.
            start_new_session=True,
        )
    try:
        deadline = time.monotonic() + 200
        while not works() and process.poll() is None and time.monotonic() < deadline:
            time.sleep(0.1)
        assert process.poll() is None, (folder / 'wrong').read_text()
        os.killpg(process.pid, by)
        assert process.wait(60) == 128 + by
        with pytest.raises(ProcessLookupError):
            os.killpg(process.pid, 0)
    finally:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()
    lines = (folder / 'wrong').read_text()
    assert lines.splitlines()[-1] == _TOLD[by] and 'Traceback' not in lines
    assert not list(folder.rglob('*.tmp'))


@pytest.fixture(scope='module')
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp('data') / 'demo'
    write_demo_data(out, DemoSpec(train=16, val=4, size=128))
    return out


def test_training(data: Path, tmp_path: Path) -> None:
    config = tmp_path / 'config.py'
    config.write_text(f"""
_base_ = ['{CONFIG}']
train_dataloader = dict(
    batch_size=2, num_workers=2, dataset=dict(data_root='{data}/'))
val_dataloader = dict(dataset=dict(data_root='{data}/'))
val_evaluator = dict(ann_file='{data}/annotations/instances_val.json')
default_hooks = dict(logger=dict(interval=1))
""")
    interrupt(
        'train.py',
        [config, '--work-dir', tmp_path / 'work'],
        tmp_path,
        lambda: b'[2/' in (tmp_path / 'told').read_bytes().replace(b' ', b''),
    )


def test_prediction(data: Path, tmp_path: Path) -> None:
    (tmp_path / 'many').mkdir()
    picture = next(data.rglob('*.jpg'))
    for number in range(5000):
        os.link(picture, tmp_path / 'many' / f'{number}.jpg')
    interrupt(
        'predict.py',
        [CONFIG, tmp_path / 'many', '--out', tmp_path / 'drawn'],
        tmp_path,
        lambda: (tmp_path / 'drawn').is_dir(),
    )
    assert len(list((tmp_path / 'drawn').iterdir())) < 5000


@pytest.mark.parametrize('by', [signal.SIGINT, signal.SIGTERM])
def test_a_video_that_is_stopped_plays(
    data: Path, tmp_path: Path, by: signal.Signals
) -> None:
    picture = cv2.imread(str(next(data.rglob('*.jpg'))))
    clip = tmp_path / 'clip.avi'
    with write_video(clip, 25) as write:
        for _ in range(3000):
            write(picture, None)
    out = tmp_path / 'drawn'
    interrupt(
        'predict.py',
        [CONFIG, clip, '--out', out],
        tmp_path,
        lambda: any(file.stat().st_size for file in out.rglob('*.avi')),
        by,
    )
    capture = cv2.VideoCapture(str(out / 'clip.avi'))
    frames = 0
    while capture.grab():
        frames += 1
    assert 0 < frames < 3000
    assert [path.name for path in out.iterdir()] == ['clip.avi']


def test_latency_table(tmp_path: Path) -> None:
    table = tmp_path / 'table.json'
    interrupt(
        'latency_table.py',
        [CONFIG, '--backend', 'pytorch', '--out', table],
        tmp_path,
        table.exists,
    )
    assert LatencyTable.load(table).layers
