"""Stage times of models."""

import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from mmnv3.analysis.latency import measure
from mmnv3.analysis.subjects import build_model, find_stages, prepare
from mmnv3.errors import UserError

ROOT = Path(__file__).parents[2]


def benchmark(*args: str) -> subprocess.CompletedProcess:
    return subprocess.run(
        [sys.executable, 'tools/benchmark.py', *args, '--runs', '2'],
        capture_output=True,
        text=True,
        cwd=ROOT,
    )


def test_models_take_turns_and_warm_up_does_not_count() -> None:
    calls = []

    def stage(name: str):
        def step(state: object) -> str:
            assert not torch.is_grad_enabled()
            calls.append((name, state))
            return name

        return step

    picture = torch.zeros(1)
    found = measure(
        {
            'a': ({'network': stage('a1'), 'post': stage('a2')}, picture),
            'b': ({'network': stage('b1')}, picture),
        },
        runs=3,
        warmup=2,
    )
    assert calls == [('a1', picture), ('a2', 'a1'), ('b1', picture)] * 5
    assert {name: list(stages) for name, stages in found.items()} == {
        'a': ['network', 'post'],
        'b': ['network'],
    }
    for stages in found.values():
        for times in stages.values():
            assert times.shape == (3,) and (times >= 0).all()


MODELS = [
    'configs/ssdlite_mnv3_small_coco.py',
    'configs/lraspp_mnv3_small_cityscapes.py',
    'configs/mmseg_lraspp_mnv3_large_cityscapes.py',
    'torchvision:lraspp_mobilenet_v3_large',
]


@pytest.mark.parametrize('name', MODELS)
def test_stages_make_the_whole_model(name: str) -> None:
    size = (320, 320) if 'ssdlite' in name else (400, 416)
    model = build_model(name)
    picture = np.random.default_rng(0).integers(0, 256, (*size, 3), np.uint8)
    state = x = prepare(model, picture)
    assert x.shape == (1, 3, *size)
    with torch.no_grad():
        for step in find_stages(model, size).values():
            state = step(state)
        if 'ssdlite' in name:
            assert len(state[0].bboxes) == len(state[0].scores)
            return
        if 'torchvision' in name:
            found, expected = state, model(x)['out'].argmax(1)
        else:
            found = state[0].pred_sem_seg.data
            expected = model.predict(x)[0].pred_sem_seg.data
    assert torch.equal(found, expected) and found.shape == (1, *size)


def test_other_models_are_refused() -> None:
    with pytest.raises(UserError, match='Linear is neither a single-stage detector'):
        find_stages(nn.Linear(1, 1), (32, 32))
    with pytest.raises(UserError, match=r"no segmenter 'gone'; it has .*lraspp_mob"):
        build_model('torchvision:gone')


def test_a_checkpoint_of_another_network_is_refused(tmp_path: Path) -> None:
    path = tmp_path / 'other.pth'
    torch.save(dict(state_dict=nn.Linear(1, 1).state_dict()), path)
    done = benchmark('configs/ssdlite_mnv3_small_coco.py', '--checkpoint', str(path))
    assert done.returncode == 2
    assert re.search(r'error: .*other\.pth does not fit configs/ssd', done.stderr)


def test_the_tool_compares() -> None:
    done = benchmark(MODELS[1], MODELS[3], '--size', '96', '64')
    assert done.returncode == 0, done.stderr
    assert done.stdout.count('network') == 2 + 2
    assert MODELS[3] + ': post-processing is' in done.stdout
