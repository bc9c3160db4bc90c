"""Stage times of a detector."""

import subprocess
import sys
from pathlib import Path

import pytest
import torch
from torch import nn

from mmnv3.analysis.latency import measure_detector
from mmnv3.errors import UserError

ROOT = Path(__file__).parents[2]


def test_stages_alternate_and_warm_up_does_not_count() -> None:
    calls = []

    class Head(nn.Module):
        def forward(self, features):
            calls.append('head')
            return features, features

        def predict_by_feat(self, *maps, batch_img_metas, rescale):
            calls.append('post')
            assert batch_img_metas[0]['img_shape'] == (32, 48) and rescale

    class Detector(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.bbox_head = Head()

        def extract_feat(self, x):
            assert not torch.is_grad_enabled()
            return x

    found = measure_detector(Detector(), torch.zeros(1, 3, 32, 48), runs=3, warmup=2)
    assert calls == ['head', 'post'] * 5
    assert {name: len(values) for name, values in found.items()} == {
        'network': 3,
        'post-processing': 3,
    }
    assert all((values >= 0).all() for values in found.values())


def test_other_models_are_refused() -> None:
    with pytest.raises(UserError, match='Linear is not a single-stage detector'):
        measure_detector(nn.Linear(1, 1), torch.zeros(1))


def test_the_tool_prints_a_table() -> None:
    done = subprocess.run(
        [sys.executable, 'tools/benchmark.py', 'configs/ssdlite_mnv3_small_coco.py',
         '--runs', '2'],
        capture_output=True, text=True, cwd=ROOT,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert 'network' in done.stdout and 'post-processing is' in done.stdout
