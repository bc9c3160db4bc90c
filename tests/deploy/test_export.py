"""The files, what they carry, and the tool that writes them."""

import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import openvino
import pytest
import torch
from torch import nn

from mmnv3.cpu import has_bf16
from mmnv3.deploy import export as exporting
from mmnv3.deploy.export import FORMATS, export_config, export_graph
from mmnv3.deploy.fastest import Choice
from mmnv3.deploy.graph import PlainGraph, plain_info
from mmnv3.deploy.runtime import load_runtime
from mmnv3.deploy.sources import postprocesses_inside
from mmnv3.engine.build import build_model
from mmnv3.errors import UserError
from tests.deploy.tiny import INFO, TinyGraph, write_tiny
from tests.tools import Completed, fork_tool

ROOT = Path(__file__).parents[2]
DEMO = 'configs/ssdlite_mnv3_small_demo.py'
SMALLER = 'model.bbox_head.anchor_generator.input_size=128'


def export(*args: object) -> Completed:
    return fork_tool('export.py', *args)


@pytest.fixture(scope='module')
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The demo detector with random weights, and names of its own."""
    path = tmp_path_factory.mktemp('weights') / 'demo.pth'
    torch.save(
        dict(
            meta=dict(dataset_meta=dict(classes=tuple('abcdef'))),
            state_dict=build_model(DEMO).state_dict(),
        ),
        path,
    )
    return path


def test_weights_of_nan_are_not_written(tmp_path) -> None:
    graph = TinyGraph()
    graph.conv.bias[1] = torch.nan
    with pytest.raises(UserError, match=r'a\.onnx: the weight conv\.bias is NaN'):
        export_graph(graph, INFO, tmp_path / 'a.onnx', 'onnx')
    assert not list(tmp_path.iterdir())


def test_openvino_does_not_run_weights_of_nan(tmp_path) -> None:
    """Its ReLU makes zeros of them, and so its outputs would be numbers."""
    path = write_tiny(tmp_path, 'openvino')
    weights, bias = path.with_suffix('.bin'), TinyGraph().conv.bias.numpy()
    whole = weights.read_bytes()
    assert whole.count(bias.tobytes()) == 1
    weights.write_bytes(whole.replace(bias.tobytes(), (bias * np.nan).tobytes()))
    with pytest.raises(UserError, match=r'tiny\.xml: the weight \S+ is NaN, the tr'):
        load_runtime(path)


@pytest.mark.parametrize('kind', ['onnx', 'openvino'])
def test_the_tool_writes_what_the_runtime_reads(checkpoint, tmp_path, kind) -> None:
    suffixes = FORMATS[kind].suffixes
    out = tmp_path / 'new' / f'demo{suffixes[0]}'
    done = export(
        DEMO, checkpoint, '--format', kind, '--out', out, '--cfg-options', SMALLER
    )
    assert done.returncode == 0, done.stderr
    assert (
        'detection of 6 classes at 128x128 pixels in fp32: boxes, scores' in done.stderr
    )
    assert {p.name for p in out.parent.iterdir()} == {f'demo{s}' for s in suffixes}
    info = load_runtime(out).info
    assert info.classes == tuple('abcdef')
    assert (info.size, info.channel_order) == ((128, 128), 'rgb')
    assert (info.score_threshold, info.iou_threshold) == (0.01, 0.6)
    assert (info.max_detections, info.max_per_class) == (100, -1)


def test_the_fastest_precision_of_a_format(checkpoint, tmp_path, monkeypatch) -> None:
    tried: dict[str, str] = {}

    def choose(ways: list, start: Callable, about: list) -> Choice:
        for way in ways:
            runtime = start(*way)
            runtime.run_blank()
            tried[way[1]] = runtime.info.precision
        return Choice('openvino', 'fp16', {})

    monkeypatch.setattr(exporting, 'choose_fastest', choose)
    out = tmp_path / 'a.xml'
    # A network of one layer, which takes no time to write.
    monkeypatch.setattr(exporting, 'build_graph', lambda *_: TinyGraph())
    monkeypatch.setattr(exporting, 'describe_graph', lambda *_: INFO)
    arguments = str(checkpoint), out, 'openvino'
    info = export_config(DEMO, *arguments, precision='auto')
    # Without pictures there is nothing to calibrate 8 bits on.
    wanted = ['fp32', 'bf16', 'fp16'] if has_bf16() else ['fp32', 'fp16']
    assert tried == {name: name for name in wanted}
    assert info.precision == load_runtime(out).info.precision == 'fp16'
    with pytest.raises(UserError, match='gone: there is no such folder'):
        export_config(DEMO, *arguments, precision='auto', calibration='gone')


def test_errors_are_one_line(checkpoint, tmp_path) -> None:
    out = tmp_path / 'a.onnx'
    done = export('configs/gone.py', checkpoint, '--format', 'onnx', '--out', out)
    assert (done.returncode, done.stdout) == (2, '')
    # Packages may warn while they are imported.
    assert 'Traceback' not in done.stderr
    last = done.stderr.splitlines()[-1]
    assert last == 'error: configs/gone.py: there is no such config file'


def test_what_does_not_fit_is_refused(checkpoint, tmp_path, monkeypatch) -> None:
    monkeypatch.chdir(ROOT)
    out = tmp_path / 'out' / 'a.onnx'
    text = tmp_path / 'text.pth'
    text.write_text('hello')
    torch.save([1], tmp_path / 'list.pth')
    street = 'configs/lraspp_mnv3_small_cityscapes.py'
    soft = {'model.test_cfg.nms.type': 'soft_nms'}
    large = {'model.test_cfg.min_bbox_size': 0}
    for args, message in (
        ((DEMO, 'gone.pth', out, 'onnx'), 'gone.pth: there is no such checkpoint'),
        ((DEMO, text, out, 'onnx'), 'text.pth cannot be read as a check'),
        ((DEMO, tmp_path / 'list.pth', out, 'onnx'), 'list.pth holds no state dict'),
        ((street, checkpoint, out, 'onnx'), 'demo.pth does not fit'),
        ((DEMO, checkpoint, out, 'onnx', (300, 320)), 'for 320x320, not 300x320'),
        (
            (DEMO, checkpoint, out, 'onnx', (0, 320)),
            'is no size; give a positive number',
        ),
        ((DEMO, checkpoint, out, 'onnx', None, soft), "'soft_nms'.* cannot be"),
        ((DEMO, checkpoint, out, 'onnx', None, large), 'min_bbox_size cannot be'),
        ((DEMO, checkpoint, out, 'openvino'), r'a\.onnx: .* openvino end in \.xml'),
        ((street, None, out, 'onnx'), 'say one with --size WIDTH HEIGHT'),
    ):
        with pytest.raises(UserError, match=message) as error:
            export_config(*(str(a) if isinstance(a, Path) else a for a in args))
        assert '\n' not in str(error.value)
    assert not out.parent.exists()


@pytest.mark.parametrize(
    ('kind', 'package'),
    [
        ('onnx', 'onnx'),
        ('onnx', 'onnxscript'),
        ('openvino', 'openvino'),
        ('litert', 'litert_torch'),
        ('executorch', 'executorch.exir'),
    ],
)
def test_a_missing_package_is_told(
    exported, tmp_path, monkeypatch, kind, package
) -> None:
    monkeypatch.setitem(sys.modules, package, None)
    out = tmp_path / f'a{FORMATS[kind].suffixes[0]}'
    name = package.partition('.')[0].replace('_', '-')
    with pytest.raises(UserError, match=f'^{name} is not installed; pip install'):
        export_graph(exported.graph('wide'), exported.info('wide'), out, kind)
    assert not list(tmp_path.iterdir())


def test_a_failed_export_leaves_the_old_file(exported, tmp_path, monkeypatch) -> None:
    def write(program: object, info: object, path: Path) -> None:
        path.write_text('half')
        raise OSError('disk full')

    monkeypatch.setitem(exporting._WRITERS, 'onnx', write)
    out = tmp_path / 'a.onnx'
    out.write_text('old')
    with pytest.raises(OSError, match='disk full'):
        export_graph(exported.graph('wide'), exported.info('wide'), out, 'onnx')
    assert [p.name for p in tmp_path.iterdir()] == ['a.onnx']
    assert out.read_text() == 'old'


@pytest.mark.parametrize('case', ['sigmoid', 'lraspp', 'windows', 'classifier'])
def test_onnx_files_are_static_and_lean(exported, case) -> None:
    model = onnx.load(exported.file(case, 'onnx'))
    kinds = {node.op_type for node in model.graph.node}
    assert not kinds & {'BatchNormalization', 'Shape', 'NonZero', 'Pad', 'If', 'Loop'}
    shapes = {tensor.name: tensor.dims for tensor in model.graph.initializer}
    kernels = [
        shapes[node.input[1]][2:] for node in model.graph.node if node.op_type == 'Conv'
    ]
    # An even one would be `Conv2dSame`'s other way to pad.
    assert len(kernels) > 20 and all(side % 2 for kernel in kernels for side in kernel)
    values = (*model.graph.input, *model.graph.output, *model.graph.value_info)
    for value in values:
        assert all(dim.dim_value for dim in value.type.tensor_type.shape.dim)


def test_openvino_files_are_static(exported) -> None:
    model = openvino.Core().read_model(exported.file('wide', 'openvino'))
    assert not model.is_dynamic()
    assert list(model.input('image').shape) == [1, 3, 128, 193]
    kinds = {operation.get_type_name() for operation in model.get_ops()}
    assert 'GroupConvolution' in kinds and 'BatchNormInference' not in kinds


def test_averages_over_whole_maps_are_one_operator(tmp_path: Path) -> None:
    """PyTorch's exporter writes three where maps are channels-last."""
    for pools, wanted in (
        ((1, 1), ['GlobalAveragePool', 'GlobalAveragePool']),
        ((2, 1), ['AveragePool', 'ReduceMean']),
    ):
        net = nn.Sequential(
            nn.Conv2d(3, 8, 3, padding=1), *map(nn.AdaptiveAvgPool2d, pools)
        )
        net.to(memory_format=torch.channels_last)
        graph = PlainGraph(net, (1, 3, 8, 8))
        path = tmp_path / 'pools.onnx'
        export_graph(graph, plain_info(graph), path, 'onnx')
        found = [node.op_type for node in onnx.load(path).graph.node]
        assert [op for op in found if 'Pool' in op or 'Mean' in op] == wanted
        x = torch.randn(1, 3, 8, 8)
        outputs = load_runtime(path)(x.numpy())
        (value,) = outputs.values()
        np.testing.assert_allclose(value, net(x).detach(), atol=1e-5)


def test_executorch_refuses_what_it_cannot_choose(tmp_path) -> None:
    for about, message in (
        (dict(postprocessed=True), 'has no suppression that can be exported'),
        (dict(takes_pictures=True), 'cannot take pictures of any size'),
        (dict(postprocessed=True, task='classification'), 'does not choose classes'),
    ):
        info = replace(INFO, **about)
        with pytest.raises(UserError, match=f'^ExecuTorch {message}.*; leave'):
            export_graph(TinyGraph(), info, tmp_path / 'a.pte', 'executorch')
    assert not postprocesses_inside('segmentation', 'executorch')
    assert postprocesses_inside('segmentation', 'onnx')
