"""What all formats have in common."""

import sys

import numpy as np
import pytest

from mmnv3.deploy.export import FORMATS
from mmnv3.deploy.quantization import quantize
from mmnv3.errors import UserError
from tests.deploy.tiny import INFO, write_tiny

KINDS = ('onnx', 'openvino', 'litert')
# The output that tells most.
OUTPUTS = {'wide': 'scores', 'windows': 'logits', 'classifier': 'logits'}


@pytest.mark.parametrize('kind', KINDS)
@pytest.mark.parametrize('case', OUTPUTS)
def test_outputs_are_near_to_float(exported, quantized, case, kind) -> None:
    runtime = quantized.runtime(case, kind)
    for batch in quantized.batches(case)[:3]:
        expected = exported.runtime(case, kind)(batch)
        found = runtime(batch)
        assert found.keys() == expected.keys()
        for name, value in found.items():
            assert value.dtype == np.float32
            assert value.shape == expected[name].shape
        name = OUTPUTS[case]
        error = np.sqrt(np.mean((found[name] - expected[name]) ** 2))
        # Random weights amplify rounding, but what is broken is above 1.
        assert error < 0.7 * expected[name].std()


@pytest.mark.parametrize('kind', KINDS)
def test_boxes_keep_their_places(exported, quantized, kind) -> None:
    batch = quantized.batches('wide')[0]
    expected = exported.runtime('wide', kind)(batch)['boxes']
    found = quantized.runtime('wide', kind)(batch)['boxes']
    size = exported.info('wide').size * 2
    # What reaches out of the picture is cut off after suppression.
    away = np.abs(np.clip(found, 0, size) - np.clip(expected, 0, size)) / size
    assert away.mean() < 0.02


@pytest.mark.parametrize('kind', KINDS)
def test_the_description_stays(exported, quantized, kind) -> None:
    assert quantized.runtime('wide', kind).info == exported.info('wide')


@pytest.mark.parametrize('kind', KINDS)
def test_nothing_is_printed(tmp_path, capfd, kind) -> None:
    for package in dict(openvino=['nncf'], litert=['litert_torch']).get(kind, []):
        pytest.importorskip(package, reason=f'{package} is not installed')
    source = write_tiny(tmp_path, kind)
    random = np.random.default_rng(0)
    batches = [random.standard_normal(INFO.input_shape, np.float32) for _ in range(2)]
    capfd.readouterr()
    quantize(kind, source, tmp_path / f'a{source.suffix}', batches)
    printed = capfd.readouterr()
    # LiteRT's C++ greets.
    lines = [line for line in printed.err.splitlines() if 'delegate' not in line]
    assert (printed.out, lines) == ('', [])


@pytest.mark.parametrize('kind', KINDS)
def test_calibration_needs_pictures(exported, tmp_path, kind) -> None:
    source = exported.file('wide', kind)
    with pytest.raises(UserError, match=r'^int8 needs pictures to calibrate on'):
        quantize(kind, source, tmp_path / f'a{source.suffix}', [])
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ('kind', 'package', 'name'),
    [
        ('onnx', 'onnxruntime.quantization', 'onnxruntime'),
        ('openvino', 'nncf', 'nncf'),
        ('litert', 'ai_edge_quantizer.quantizer', 'ai-edge-quantizer'),
    ],
)
def test_a_missing_package_is_told(tmp_path, monkeypatch, kind, package, name) -> None:
    monkeypatch.setitem(sys.modules, package, None)
    suffix = FORMATS[kind].suffixes[0]
    with pytest.raises(UserError, match=f'^{name} is not installed; pip install'):
        quantize(kind, tmp_path / f'a{suffix}', tmp_path / f'b{suffix}', [np.zeros(1)])
    assert not list(tmp_path.iterdir())
