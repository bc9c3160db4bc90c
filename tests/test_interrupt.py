"""Ctrl-C ends a tool with one line and status 130, and all its processes."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import cv2
import pytest
import torch

from mmnv3.datasets.demo import DemoSpec, write_demo_data
from mmnv3.deploy.video import write_video
from mmnv3.engine.build import build_model
from mmnv3.engine.checkpoints import write_checkpoint
from mmnv3.engine.config import read_config
from mmnv3.search.configs import config_network
from mmnv3.search.latency.price import config_price
from mmnv3.search.latency.table import Execution, LatencyTable
from mmnv3.search.nas.pricing import space_layers
from mmnv3.search.nas.space import get_space
from mmnv3.search.netadapt.comparison import uniform
from mmnv3.search.netadapt.proposals import narrowest
from tests.search.conftest import law
from tests.tools import TOOLS, fork_tool

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
            # Shells let it be ignored by what they run in the background.
            preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
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


@pytest.fixture(scope='module')
def config(data: Path) -> Path:
    """A detector of five blocks at 128 pixels."""
    path = data.parent / 'shallow.py'
    root = f"data_root='{data}/'"
    steps = '\n'.join(
        f'_base_.{part}_dataloader.dataset.pipeline[{at}].scale = (128, 128)'
        for part, at in (('train', -3), ('val', 1))
    )
    path.write_text(f"""
_base_ = ['{TOOLS.parent}/tests/configs/ssdlite_shallow.py']
{steps}
model = dict(bbox_head=dict(anchor_generator=dict(input_size=128)))
train_dataloader = dict(
    batch_size=4, num_workers=1,
    dataset=dict({root}, pipeline=_base_.train_dataloader.dataset.pipeline))
val_dataloader = dict(
    num_workers=1,
    dataset=dict({root}, pipeline=_base_.val_dataloader.dataset.pipeline))
val_evaluator = dict(ann_file='{data}/annotations/instances_val.json')
""")
    return path


@pytest.fixture(scope='module')
def table(config: Path) -> Path:
    """Of another machine, so that nothing is measured for a search."""
    table = LatencyTable.new(Execution('pytorch'))
    table.machine = {**table.machine, 'processor': 'Pixel 1'}
    given = read_config(str(config))
    price = config_price(given, table, other_blocks=True)
    seed = config_network(given)
    specs = [network.spec for network in (seed, uniform(seed, 0.5), narrowest(seed))]
    layers = [layer for spec in specs for layer in price.trace(spec).layers]
    for layer in (*layers, *space_layers(price, get_space('small', None))):
        table[layer] = law(layer)
    path = config.with_name('table.json')
    table.save(path)
    return path


def files(folder: Path) -> dict[str, object]:
    """What a search leaves that its result is."""
    return {
        str(path.relative_to(folder)): json.loads(path.read_text())
        if path.suffix == '.json'
        else torch.load(path, weights_only=True)
        for path in sorted(folder.rglob('*'))
        if path.suffix in ('.json', '.pt', '.pth')
    }


def assert_same(found: object, expected: object, name: str = '') -> None:
    """Compares files, and the tensors in them to the bit; times may differ."""
    if isinstance(expected, dict):
        assert found.keys() == expected.keys(), name
        for key in expected.keys() - {'seconds'}:
            assert_same(found[key], expected[key], f'{name}/{key}')
    elif isinstance(expected, list | tuple):
        assert len(found) == len(expected), name
        for index, pair in enumerate(zip(found, expected)):
            assert_same(*pair, f'{name}/{index}')
    elif isinstance(expected, torch.Tensor):
        assert torch.equal(found, expected), name
    else:
        assert found == expected, name


def test_nas_goes_on_to_the_same_result(
    config: Path, table: Path, tmp_path: Path
) -> None:
    args = [config, '--table', table, '--target-latency', '1.5ms']
    args += ['--samples', 2, '--batch-size', 2, '--iters', 1, '--work-dir']
    whole, parted = tmp_path / 'whole', tmp_path / 'parted'
    done = fork_tool('nas.py', *args, whole)
    assert done.returncode == 0, done.stderr
    # The second network is under way.
    interrupt('nas.py', [*args, parted], tmp_path, (parted / 'history.jsonl').is_file)
    assert not (parted / 'best.json').exists()
    done = fork_tool('nas.py', *args, parted)
    assert done.returncode == 0, done.stderr
    expected, found = files(whole), files(parted)
    assert {'best.json', 'state.pt', 'settings.json'} <= set(found) == set(expected)
    assert_same(found, expected)


def test_netadapt_goes_on_to_the_same_result(
    config: Path, table: Path, tmp_path: Path
) -> None:
    seed = tmp_path / 'seed.pth'
    write_checkpoint(seed, build_model(str(config)).state_dict())
    args = [config, seed, '--table', table, '--target-latency', '0.9']
    args += ['--delta', 0.1, '--iters', 1, '--work-dir']
    whole, parted = tmp_path / 'whole', tmp_path / 'parted'
    done = fork_tool('netadapt.py', *args, whole)
    assert done.returncode == 0, done.stderr
    # Of the first step there are others to come.
    interrupt(
        'netadapt.py',
        [*args, parted],
        tmp_path,
        lambda: any(parted.glob('step_01/proposal_*.json')),
    )
    assert not (parted / 'found.pth').exists()
    done = fork_tool('netadapt.py', *args, parted)
    assert done.returncode == 0, done.stderr
    expected, found = files(whole), files(parted)
    assert {'found.pth', 'step_01/winner.json'} <= set(found) == set(expected)
    assert_same(found, expected)
