"""The fastest way is found once, told, and remembered."""

from __future__ import annotations

import json
import time
import warnings
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from mmnv3 import Predictor
from mmnv3.deploy import fastest, runtime, sources
from mmnv3.deploy.fastest import choose_fastest
from mmnv3.deploy.info import PLAIN, ModelInfo
from mmnv3.deploy.runtime import Runtime
from mmnv3.errors import Remark, UserError

INFO = ModelInfo(
    task=PLAIN, classes=(), input_shape=(1, 2), mean=(), std=(), channel_order='rgb'
)
WAYS = [('onnxruntime', 'fp32'), ('openvino', 'fp32'), ('openvino', 'bf16')]
# Far enough apart for a busy machine.
MILLISECONDS = dict(zip(WAYS, (30, 90, 3)))


class Slow(Runtime):
    def __init__(self, milliseconds: float) -> None:
        self.info, self.seconds = INFO, milliseconds / 1e3

    def __call__(self, batch: np.ndarray) -> dict[str, np.ndarray]:
        time.sleep(self.seconds)
        return {}

    def _run(self, batch: np.ndarray) -> list[np.ndarray]:
        raise NotImplementedError


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch) -> Path:
    monkeypatch.setattr(fastest, 'user_cache_path', lambda name: tmp_path / name)
    monkeypatch.setattr(fastest, '_SECONDS', 0.02)
    return tmp_path / 'mmnv3' / 'fastest'


class Starter:
    def __init__(self, missing: dict | None = None) -> None:
        self.started: list[tuple[str, str]] = []
        self.missing = missing or {}

    def __call__(self, backend: str, precision: str) -> Runtime:
        self.started.append((backend, precision))
        if (backend, precision) in self.missing:
            raise UserError(self.missing[backend, precision])
        return Slow(MILLISECONDS[backend, precision])


def test_it_is_found_by_time_told_and_remembered(cache) -> None:
    start = Starter()
    with pytest.warns(Remark, match='^openvino in bf16 is the fastest here') as told:
        choice = choose_fastest(WAYS, start, ['a model'])
    assert (choice.backend, choice.precision) == ('openvino', 'bf16')
    assert start.started == WAYS
    order = ['openvino bf16', 'onnxruntime fp32', 'openvino fp32']
    assert list(choice.milliseconds) == order
    # Each at least as long as it takes, however busy the machine is.
    slowest = choice.milliseconds['openvino fp32']
    assert slowest >= 90 and f'openvino fp32 {slowest:.1f}' in str(told[0].message)
    again = Starter()
    with pytest.warns(Remark, match='openvino in bf16'):
        assert choose_fastest(WAYS, again, ['a model']) == choice
    assert not again.started
    # Another model, or other ways, are timed.
    with pytest.warns(Remark):
        choose_fastest(WAYS, again, ['another'])
        choose_fastest(WAYS[:2], again, ['a model'])
    assert len(again.started) == 5 and len(list(cache.iterdir())) == 3


@pytest.mark.parametrize(
    'text',
    ['', '[]', '{"backend": 1}', '{"backend": "openvino", "precision": "int4", '
     '"milliseconds": {}, "left_out": []}'],
)  # fmt: skip
def test_what_is_remembered_wrongly_is_found_again(cache, text) -> None:
    with pytest.warns(Remark):
        choice = choose_fastest(WAYS, Starter(), [])
        (file,) = cache.iterdir()
        file.write_text(text)
        start = Starter()
        found = choose_fastest(WAYS, start, [])
    assert start.started == WAYS and found.precision == choice.precision
    assert json.loads(file.read_text())['backend'] == 'openvino'


def test_what_cannot_run_is_left_out_and_named() -> None:
    missing = {WAYS[2]: 'openvino is not installed'}
    with pytest.warns(Remark, match='without openvino bf16: openvino is not installed'):
        choice = choose_fastest(WAYS, Starter(missing), [])
    assert choice.backend == 'onnxruntime'
    with pytest.raises(UserError, match=r'^first$'):
        choose_fastest(WAYS[:2], Starter(dict(zip(WAYS, ('first', 'second')))), [])


def test_a_cache_that_cannot_be_written_is_told(cache) -> None:
    cache.parent.write_text('a file')
    with pytest.warns(Remark, match='cannot be written .*; set XDG_CACHE_HOME'):
        choice = choose_fastest(WAYS, Starter(), [])
    assert choice.precision == 'bf16'


def test_a_file_runs_in_the_faster_of_its_precisions(exported, monkeypatch) -> None:
    file = exported.file('wide', 'openvino')
    monkeypatch.setattr(fastest, 'has_bf16', lambda: True)
    monkeypatch.setattr(runtime, 'has_bf16', lambda: True)
    tried = []

    def choose(ways, start, about):
        tried.extend(start(*way).info.precision for way in ways)
        return fastest.Choice('openvino', 'bf16', {})

    monkeypatch.setattr(sources, 'choose_fastest', choose)
    predictor = Predictor(file, precision='auto')
    assert predictor.info == replace(exported.info('wide'), precision='bf16')
    assert tried == ['fp32', 'bf16']


def test_a_config_tries_what_is_asked_for(monkeypatch) -> None:
    monkeypatch.setattr(fastest, 'has_bf16', lambda: False)
    assert sources._ways(None, 'fp32', None) == [('pytorch', 'fp32')]
    assert sources._ways('openvino', 'fp16', None) == [('openvino', 'fp16')]
    every = sources._ways(None, 'auto', None)
    assert ('pytorch', 'fp32') in every and ('openvino', 'fp16') in every
    assert not {'compile', 'bf16', 'int8'} & {part for way in every for part in way}
    assert ('litert', 'int8') in sources._ways(None, 'auto', 'pictures')
    assert sources._ways('compile', 'auto', None) == [('compile', 'fp32')]
    monkeypatch.setattr(fastest, 'has_bf16', lambda: True)
    assert ('pytorch', 'bf16') in sources._ways('pytorch', 'auto', None)
    for backend, precision, message in (
        ('onnxruntime', 'bf16', "'onnxruntime' has no bf16, but fp32, fp16, int8"),
        ('openvino', 'int8', 'int8 needs pictures to calibrate on'),
        ('tensorrt', 'auto', "'tensorrt' is unknown"),
        (None, 'fp8', "precision 'fp8' is unknown"),
    ):
        with pytest.raises(UserError, match=message):
            sources._ways(backend, precision, None)


def test_a_config_in_the_fastest_way_predicts(tmp_path, monkeypatch) -> None:
    """One backend, of which nothing has to be exported."""
    monkeypatch.setattr(fastest, 'has_bf16', lambda: True)
    monkeypatch.setattr(runtime, 'has_bf16', lambda: True)
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter('always')
        predictor = Predictor(
            'tests/configs/classifier_shallow.py', None, 'pytorch', 1, precision='auto'
        )
        found = predictor(np.zeros((224, 224, 3), np.uint8))
    assert len(found.scores) == 5
    assert predictor.info.precision in ('fp32', 'bf16')
    lines = [str(w.message) for w in told if 'is the fastest' in str(w.message)]
    assert len(lines) == 1 and 'pytorch bf16' in lines[0] and 'pytorch fp32' in lines[0]
