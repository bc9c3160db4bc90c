"""Backends by name."""

from dataclasses import replace
from functools import partial

import numpy as np
import pytest
import torch
from torch import nn

from mmnv3.deploy.calibration import noise_batches
from mmnv3.deploy.export import write_file
from mmnv3.deploy.graph import PlainGraph, plain_info
from mmnv3.deploy.runtime import (
    BACKENDS,
    FORMATS,
    check_backend,
    file_suffix,
    load_runtime,
    run_graph,
)
from mmnv3.errors import UserError
from mmnv3.models import MobileNetV3
from mmnv3.models.layers import SqueezeExcite
from tests.deploy.cases import skip_without
from tests.models.parity import calibrate_norms, shake_norms

SHAPE = 1, 3, 32, 32


@pytest.fixture(scope='module')
def graph() -> PlainGraph:
    net = MobileNetV3('small', out_taps=('block2', 'block4')).eval()
    shake_norms(net)
    calibrate_norms(net, net)
    return PlainGraph(net, SHAPE)


def test_a_plain_graph_joins_its_outputs(graph) -> None:
    assert graph(graph.example()).shape == (1, 24 * 4 * 4 + 40 * 2 * 2)
    assert not any(isinstance(part, nn.BatchNorm2d) for part in graph.modules())
    one = PlainGraph(nn.Conv2d(5, 7, 1), (1, 5, 4, 4))
    assert one(one.example()).shape == (1, 7, 4, 4)


@pytest.mark.parametrize('backend', BACKENDS)
def test_every_backend_computes_the_same(graph, tmp_path, backend) -> None:
    skip_without(backend)
    info = plain_info(graph)
    x = noise_batches(info, 1)[0]
    if BACKENDS[backend]:
        path = tmp_path / f'net{file_suffix(backend)}'
        write_file(graph, info, path, BACKENDS[backend])
        runtime = load_runtime(path, threads=1)
    else:
        runtime = run_graph(graph, info, backend, threads=1)
    expected = run_graph(graph, info, 'pytorch')(x)['output']
    assert expected.std() > 0.1
    np.testing.assert_allclose(runtime(x)['output'], expected, atol=1e-4)
    assert runtime.info == info


@pytest.mark.parametrize('kind', filter(None, BACKENDS.values()))
@torch.no_grad()
def test_every_file_keeps_the_factor_of_tensorflows_gate(tmp_path, kind) -> None:
    """Runtimes know a gate with 1/6, and take what looks like it for that."""
    skip_without(kind)
    torch.manual_seed(0)
    theirs, papers = (SqueezeExcite(8, 4, gate) for gate in ('hsigmoid_tf', 'hsigmoid'))
    # Below, inside and above of what the gate cuts off.
    theirs.expand.bias.copy_(torch.linspace(-4, 4, 8))
    papers.load_state_dict(theirs.state_dict())
    x = torch.rand(1, 8, 4, 4)
    graph = PlainGraph(theirs, tuple(x.shape))
    path = tmp_path / f'gate{FORMATS[kind].suffixes[0]}'
    write_file(graph, plain_info(graph), path, kind)
    found = load_runtime(path, threads=1)(x.numpy())['output']
    np.testing.assert_allclose(found, theirs(x), atol=2e-7)
    assert np.abs(found - papers(x).numpy()).max() > 1e-5


@pytest.mark.parametrize('backend', ['onnxruntime', 'openvino', 'litert'])
def test_int8_files_say_so_and_are_smaller(graph, tmp_path, backend) -> None:
    for package in dict(openvino=['nncf'], litert=['litert_torch']).get(backend, []):
        pytest.importorskip(package, reason=f'{package} is not installed')
    info = plain_info(graph)
    path = tmp_path / f'net{file_suffix(backend)}'
    write_file(
        graph, info, path, BACKENDS[backend], 'int8', partial(noise_batches, info)
    )
    assert {p.stem for p in tmp_path.iterdir()} == {'net'}
    runtime = load_runtime(path)
    assert runtime.info == replace(info, precision='int8')
    x = noise_batches(info, 1)[0]
    expected = run_graph(graph, info, 'pytorch')(x)['output'].ravel()
    found = runtime(x)['output'].ravel()
    assert 0.95 < np.corrcoef(found, expected)[0, 1] < 1 - 1e-7


def test_int8_without_pictures_is_refused(graph, tmp_path) -> None:
    with pytest.raises(UserError, match='int8 needs pictures'):
        write_file(graph, plain_info(graph), tmp_path / 'a.onnx', 'onnx', 'int8')
    assert not list(tmp_path.iterdir())


def test_unknown_names_are_told() -> None:
    for args, message in (
        (('tensorrt',), "backend 'tensorrt' is unknown; possible: pytorch, compile"),
        (('openvino', 'int4'), "precision 'int4' is unknown; possible: fp32, bf16"),
        (('compile', 'int8'), "'compile' has no int8, but fp32, bf16; int8 is of"),
    ):
        with pytest.raises(UserError, match=message):
            check_backend(*args)
