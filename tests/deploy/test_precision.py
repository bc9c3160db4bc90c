"""What files and backends compute in."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from mmnv3.deploy import runtime
from mmnv3.deploy.export import write_file
from mmnv3.deploy.info import INPUT, PRECISIONS
from mmnv3.deploy.runtime import FORMATS, load_runtime, run_graph
from mmnv3.errors import UserError
from tests.deploy.cases import blurred_noise, skip_without

REDUCED = [
    (name, precision)
    for name, kind in FORMATS.items()
    for precision in kind.precisions
    if precision in ('bf16', 'fp16')
]
# Of logits that differ by one: the rounding of weights alone, and of all that is
# computed.
TOLERANCE = dict(fp16=0.02, bf16=0.25)


@pytest.fixture
def with_bf16(monkeypatch) -> None:
    """A processor with bfloat16, of which others only take longer to compute it."""
    monkeypatch.setattr(runtime, 'has_bf16', lambda: True)


def sizes(path: Path, format_name: str) -> int:
    ends = FORMATS[format_name].suffixes
    return sum(path.with_suffix(end).stat().st_size for end in ends)


@pytest.mark.parametrize('format_name, precision', REDUCED)
def test_files_say_it_are_smaller_and_close(
    exported, tmp_path, with_bf16, format_name, precision
) -> None:
    skip_without(format_name)
    graph, info = exported.graph('classifier'), exported.info('classifier')
    path = tmp_path / f'small{FORMATS[format_name].suffixes[0]}'
    write_file(graph, info, path, format_name, precision)
    float_file = exported.file('classifier', format_name)
    if format_name != 'pytorch':  # It also holds an example, and the graph as text.
        assert sizes(path, format_name) < 0.6 * sizes(float_file, format_name)
    loaded = load_runtime(path, threads=1)
    assert loaded.info.precision == precision
    picture = blurred_noise(info.size).numpy()
    expected = load_runtime(float_file, threads=1)(picture)['logits']
    found = loaded(picture)['logits']
    assert found.dtype == np.float32 and expected.std() > 0.5
    assert 0 < np.abs(found - expected).max() < TOLERANCE[precision]
    with pytest.raises(UserError, match=rf'exported in {precision}, and does not run'):
        load_runtime(path, precision='fp32')


@pytest.mark.parametrize('case', ['wide', 'windows', 'classifier'])
def test_graphs_compute_in_bfloat16_and_decode_in_single_precision(
    exported, with_bf16, case
) -> None:
    graph, info = exported.graph(case), exported.info(case)
    reduced = graph.in_precision('bf16')
    assert graph.in_precision('fp32') is graph
    kept = {name for name, p in reduced.named_parameters() if p.dtype != torch.bfloat16}
    assert not kept
    assert all(p.dtype == torch.float32 for p in graph.parameters())
    picture = blurred_noise(info.size).numpy()
    expected = run_graph(graph, info, 'pytorch')(picture)
    found = run_graph(reduced, info, 'pytorch')(picture)
    for name, values in expected.items():
        assert found[name].dtype == np.float32
        assert not np.array_equal(found[name], values)
        # Coordinates of anchors have more digits than bfloat16.
        limit = 4.0 if name == 'boxes' else TOLERANCE['bf16']
        assert np.abs(found[name] - values).max() < limit


def test_anchors_keep_their_digits(exported, tmp_path) -> None:
    import onnx

    graph, info = exported.graph('wide'), exported.info('wide')
    for format_name in ('onnx', 'openvino'):
        path = tmp_path / f'half{FORMATS[format_name].suffixes[0]}'
        write_file(graph, info, path, format_name, 'fp16')
        # A picture of nothing, whose boxes are the anchors moved by the biases.
        blank = np.zeros(info.input_shape, np.float32)
        expected = exported.runtime('wide', format_name)(blank)['boxes']
        found = load_runtime(path, threads=1)(blank)['boxes']
        # 16 bits would round them by up to 1/16 of a pixel where they are.
        assert np.median(np.abs(found - expected)) < 0.01
    halves = {w.name for w in onnx.load(tmp_path / 'half.onnx').graph.initializer
              if w.data_type == onnx.TensorProto.FLOAT16}  # fmt: skip
    assert halves and all(name.endswith('_half') for name in halves)


def test_openvino_runs_float_files_in_bfloat16(exported, with_bf16) -> None:
    file = exported.file('wide', 'openvino')
    assert load_runtime(file).info.precision == 'fp32'
    assert load_runtime(file, precision='bf16').info.precision == 'bf16'
    with pytest.raises(UserError, match='does not run in int8; export it with'):
        load_runtime(file, precision='int8')
    assert runtime._openvino_type(None, 'bf16') == 'bf16'
    assert runtime._openvino_type(None, 'fp32') == 'f32'


def test_a_processor_without_bfloat16_is_told(exported, monkeypatch) -> None:
    monkeypatch.setattr(runtime, 'has_bf16', lambda: False)
    with pytest.raises(UserError, match=r'processor has no bfloat16.*; take fp32'):
        load_runtime(exported.file('wide', 'openvino'), precision='bf16')
    info = exported.info('wide')
    graph = exported.graph('wide').in_precision('bf16')
    from dataclasses import replace

    with pytest.raises(UserError, match="backend 'pytorch': this processor has no bf"):
        run_graph(graph, replace(info, precision='bf16'), 'pytorch')


@pytest.mark.parametrize('format_name', ['onnx', 'openvino'])
def test_weights_that_16_bits_cannot_hold_are_told(tmp_path, format_name) -> None:
    from mmnv3.deploy.graph import PlainGraph, plain_info

    net = torch.nn.Conv2d(3, 4, 3)
    with torch.no_grad():
        net.weight[0, 0, 0, 0] = 1e5
    graph = PlainGraph(net, (1, 3, 8, 8))
    path = tmp_path / f'a{FORMATS[format_name].suffixes[0]}'
    with pytest.raises(UserError, match='100000 is more than 16 bits can hold'):
        write_file(graph, plain_info(graph), path, format_name, 'fp16')
    assert not list(tmp_path.iterdir())


def test_every_format_has_single_precision() -> None:
    for kind in FORMATS.values():
        assert kind.precisions[0] == 'fp32' and set(kind.precisions) <= set(PRECISIONS)
    assert INPUT == 'image'
