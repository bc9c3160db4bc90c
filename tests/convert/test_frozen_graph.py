"""Graphs and archives as TensorFlow's model zoos publish them, and what is none."""

from __future__ import annotations

import io
import tarfile
from collections.abc import Callable, Mapping
from pathlib import Path

import flatbuffers
import numpy as np
import pytest
import tflite
import torch
from tensorboard.compat.proto.graph_pb2 import GraphDef
from tensorboard.compat.proto.types_pb2 import DT_FLOAT, DT_UINT8

from mmnv3.arch import Network
from mmnv3.convert import from_ours
from mmnv3.convert.frozen_graph import read_variables
from mmnv3.convert.tensorflow import to_variables
from mmnv3.engine.build import build_model
from mmnv3.engine.checkpoints import write_checkpoint
from mmnv3.engine.config import class_names
from mmnv3.errors import UserError
from tests.convert.test_tensorflow import DATA, needs_data
from tests.convert.test_tensorflow import read_variables as read_data
from tests.tools import run_tool

CONFIGS = {
    'detector': (
        'configs/ssdlite_mnv3_small_coco_google.py',
        {'model.bbox_head.num_classes': 90},
    ),
    'segmenter': ('configs/lraspp_mnv3_small_cityscapes_google.py', {}),
    'classifier': (
        'configs/mnv3_small_minimalistic_imagenet.py',
        {'model.head.num_classes': 1001},
    ),
}
PIPELINE = """model {
  ssd {
    num_classes: 90
    image_resizer { fixed_shape_resizer { height: 320 width: 320 } }
    feature_extractor { type: "ssd_mobilenet_v3_small" unknown_to_us: TRUNCATED }
    post_processing {
      batch_non_max_suppression {
        score_threshold: 0.05  # a comment
        iou_threshold: 0.55
        max_detections_per_class: 100
        max_total_detections: 50
        use_static_shapes: true
      }
      score_converter: SIGMOID
    }
  }
}
train_config: { batch_size: 512 [some.extension] { a: 1 } }
"""


class Sample:
    """A model of ours with random weights, and TensorFlow's variables of it.

    Args:
        name: Of `CONFIGS`.
        noise: Added to every tensor, at most; with 1 the network overflows.
    """

    def __init__(self, name: str, noise: float = 1.0) -> None:
        torch.manual_seed(0)
        config, options = CONFIGS[name]
        state = build_model(config, options).state_dict()
        self.state = {
            key: value + noise * torch.rand(value.shape)
            if value.is_floating_point()
            else value
            for key, value in state.items()
        }
        self.variables = to_variables(from_ours(self.state, 'tensorflow').state)


@pytest.fixture(scope='module')
def sample() -> Callable[[str], Sample]:
    """Builds a model once."""
    made: dict[str, Sample] = {}
    return lambda name: made.get(name) or made.setdefault(name, Sample(name))


def write_graph(
    variables: Mapping[str, np.ndarray], first: str = 'image_tensor'
) -> GraphDef:
    """A frozen graph: constants behind identities, among others that are no weights."""
    graph = GraphDef()
    graph.node.add(name=first, op='Placeholder')
    graph.node.add(name='Preprocessor/map/while/Less', op='Less')
    for name, value in variables.items():
        node = graph.node.add(name=name, op='Const')
        tensor = node.attr['value'].tensor
        tensor.dtype = DT_FLOAT
        for side in value.shape:
            tensor.tensor_shape.dim.add(size=side)
        if value.size and (value == value.flat[0]).all():
            # A constant of one number is written once.
            tensor.float_val.append(float(value.flat[0]))
        else:
            tensor.tensor_content = value.astype('<f4').tobytes()
        graph.node.add(name=f'{name}/read', op='Identity', input=[name])
    return graph


def write_archive(path: Path, members: Mapping[str, bytes]) -> Path:
    with tarfile.open(path, 'w:gz', compresslevel=1) as archive:
        for name, content in members.items():
            member = tarfile.TarInfo(name)
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
    return path


def convert(*args: object) -> int:
    return run_tool('convert_checkpoint.py', *args)


def load(path: Path) -> dict[str, torch.Tensor]:
    return torch.load(path, weights_only=True)['state_dict']


@pytest.mark.parametrize('first', ['image_tensor', 'normalized_input_image_tensor'])
def test_a_graph_holds_its_variables(sample, first: str, tmp_path: Path) -> None:
    variables = sample('detector').variables
    path = tmp_path / 'graph.pb'
    path.write_bytes(write_graph(variables, first).SerializeToString())
    found = read_variables(str(path))
    assert list(found) == list(variables)
    assert all(np.array_equal(found[key], variables[key]) for key in variables)


@pytest.mark.parametrize('name', CONFIGS)
def test_a_model_comes_back_from_its_graph_with_a_config(
    sample, name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    graph = write_graph(sample(name).variables).SerializeToString()
    (tmp_path / 'graph.pb').write_bytes(graph)
    out, config = tmp_path / 'out.pth', tmp_path / 'a' / 'fitting.py'
    assert not convert(
        tmp_path / 'graph.pb', '--from', 'tensorflow', '--out', out,
        '--config-out', config,
    )  # fmt: skip
    state = load(out)
    for key, value in sample(name).state.items():
        if not key.endswith('num_batches_tracked'):
            assert torch.equal(state[key], value), key
    # From anywhere.
    monkeypatch.chdir(tmp_path)
    model = build_model(str(config), None, str(out))
    model.load_state_dict(state, strict=True)
    gates = {block.se.gate for block in model.backbone.spec.blocks if block.se}
    assert gates <= {'hsigmoid_tf'}
    if name == 'detector':
        names = class_names(model.cfg, 90)
        assert names[0] == 'person' and names[11] == 'street sign'
        assert names[89] == 'toothbrush' and len(set(names)) == 90
    if name == 'classifier':
        assert (
            model.backbone.spec
            == Network.of_backbone(
                dict(arch='small_minimalistic', gate='hsigmoid_tf')
            ).spec
        )


def test_an_archive_of_the_zoo_with_its_pipeline(sample, tmp_path: Path) -> None:
    folder = 'ssd_mobilenet_v3_small_coco_2020_01_14'
    archive = write_archive(
        tmp_path / f'{folder}.tar.gz',
        {
            f'{folder}/model.ckpt.index': b'',
            # As archives made by macOS have it.
            f'{folder}/._frozen_inference_graph.pb': b'',
            f'{folder}/._pipeline.config': b'',
            f'{folder}/frozen_inference_graph.pb': write_graph(
                sample('detector').variables
            ).SerializeToString(),
            f'{folder}/saved_model/saved_model.pb': b'',
            f'{folder}/pipeline.config': PIPELINE.encode(),
        },
    )
    out, config = tmp_path / 'out.pth', tmp_path / 'fitting.py'
    assert not convert(archive, '--out', out, '--config-out', config, '--classes', 80)
    model = build_model(str(config), None, str(out))
    assert model.bbox_head.num_classes == 80
    assert model.test_cfg.score_thr == 0.05
    assert model.test_cfg.nms.iou_threshold == 0.55
    assert model.test_cfg.max_per_img == 50
    # Behind COCO's ids 24 and 25 comes 27; 12 is left out before them.
    rows = (
        sample('detector').state['bbox_head.cls_convs.0.1.bias'].unflatten(0, (3, 90))
    )
    found = load(out)['bbox_head.cls_convs.0.1.bias'].unflatten(0, (3, 80))
    assert torch.equal(found[:, 22:25], rows[:, [23, 24, 26]])
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        'fitting.py', 'out.pth', f'{folder}.tar.gz'
    ]  # fmt: skip


def test_ours_become_variables_and_come_back(sample, tmp_path: Path) -> None:
    ours = sample('classifier')
    write_checkpoint(tmp_path / 'ours.pth', ours.state)
    npz = tmp_path / 'theirs.npz'
    assert not convert(tmp_path / 'ours.pth', '--to', 'tensorflow', '--out', npz)
    with np.load(npz) as found:
        assert set(found) == set(ours.variables)
        assert all(np.array_equal(found[key], ours.variables[key]) for key in found)
    assert not convert(npz, '--from', 'tensorflow', '--out', tmp_path / 'back.pth')
    back = load(tmp_path / 'back.pth')
    assert all(
        torch.equal(back[key], value)
        for key, value in ours.state.items()
        if value.is_floating_point()
    )


@needs_data
def test_the_originals_variables_come_through_a_graph(tmp_path: Path) -> None:
    assert DATA.is_dir()
    variables = read_data('lraspp_small')
    path = tmp_path / 'frozen_inference_graph.pb'
    path.write_bytes(write_graph(variables).SerializeToString())
    found = read_variables(str(path))
    assert all(np.array_equal(found[key], value) for key, value in variables.items())


def rename(graph: GraphDef, old: str, new: str) -> GraphDef:
    for node in graph.node:
        node.name = node.name.replace(old, new)
    return graph


def drop(graph: GraphDef, part: str) -> GraphDef:
    kept = [node for node in graph.node if part not in node.name]
    return GraphDef(node=kept)


def add_op(graph: GraphDef, op: str) -> GraphDef:
    graph.node.add(name='other', op=op)
    return graph


def to_bytes(graph: GraphDef) -> GraphDef:
    node = next(n for n in graph.node if n.name.endswith('/weights'))
    tensor = node.attr['value'].tensor
    tensor.dtype = DT_UINT8
    tensor.tensor_content = tensor.tensor_content[: len(tensor.tensor_content) // 4]
    return graph


def widen(graph: GraphDef) -> GraphDef:
    node = next(n for n in graph.node if n.name.endswith('Conv_2/biases'))
    tensor = node.attr['value'].tensor
    tensor.tensor_shape.dim[0].size += 1
    tensor.tensor_content += bytes(4)
    return graph


REFUSED_GRAPHS = {
    'is a quantised graph .it has FakeQuant': lambda g: add_op(
        g, 'FakeQuantWithMinMaxVars'
    ),
    'is a quantised graph .it has Quantized': lambda g: add_op(g, 'QuantizedConv2D'),
    'is uint8 and not float': to_bytes,
    'is not frozen': lambda g: add_op(g, 'VariableV2'),
    'holds no MobileNetV3: its first layer is MobilenetV1/Conv': lambda g: rename(
        g, 'MobilenetV3/', 'MobilenetV1/'
    ),
    'its first layer is FirstStageFeatureExtractor/Conv': lambda g: rename(
        g, 'MobilenetV3/', 'FirstStageFeatureExtractor/'
    ),
    'no layer is known': lambda g: drop(g, 'Mobilenet'),
    'is folded into its kernels': lambda g: drop(g, 'BatchNorm'),
    r'5 missing in the file \(MobilenetV3/expanded_conv_3/expand': lambda g: drop(
        g, 'expanded_conv_3/expand/'
    ),
    r'MobilenetV3/Conv_2.bias is \(1025,\), wanted \(1024,\)': widen,
}


@pytest.mark.parametrize('message', REFUSED_GRAPHS)
def test_graphs_that_are_refused(
    sample, message: str, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    graph = REFUSED_GRAPHS[message](write_graph(sample('classifier').variables))
    path = tmp_path / 'graph.pb'
    path.write_bytes(graph.SerializeToString())
    check_refused(path, message, capsys)


def check_refused(path: Path, message: str, capsys, *args: object) -> None:
    """One line, and nothing written."""
    before = set(path.parent.iterdir())
    status = convert(
        path, '--from', 'tensorflow', '--out', path.parent / 'out.pth', *args
    )
    lines = capsys.readouterr().err.strip().splitlines()
    assert status == 2 and len(lines) == 1
    with pytest.raises(UserError, match=message):
        raise UserError(lines[0])
    assert set(path.parent.iterdir()) == before


def test_files_that_are_refused(
    sample, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    graph = write_graph(sample('classifier').variables)
    content = graph.SerializeToString()
    path = tmp_path / 'graph.pb'
    pointer = b'version https://git-lfs.github.com/spec/v1\noid sha256:1\nsize 2\n'
    for given, message in (
        (content[:-100], 'is damaged or of another format'),
        (b'', 'is damaged or of another format'),
        (str(graph.node[0]).encode(), 'it is text'),
        (pointer, 'a pointer of Git LFS'),
    ):
        path.write_bytes(given)
        check_refused(path, message, capsys)
    archive = tmp_path / 'zoo.tar.gz'
    for members, message in (
        ({'a/../../b.pb': content}, "path 'a/../../b.pb' leads out of the archive"),
        ({'/b.pb': content}, 'leads out of the archive'),
        ({'model.ckpt.index': b''}, 'holds no frozen graph'),
        ({'a.pb': content, 'b.pb': content}, r'holds 2 graphs \(a.pb, b.pb\)'),
    ):
        write_archive(archive, members)
        check_refused(archive, message, capsys)
    whole = write_archive(archive, {'a.pb': content}).read_bytes()
    for given, message in (
        (whole[: len(whole) // 2], 'cannot be read as an archive'),
        (b'nothing', 'cannot be read as an archive'),
        (pointer, 'a pointer of Git LFS'),
    ):
        archive.write_bytes(given)
        check_refused(archive, message, capsys)
    npz = tmp_path / 'variables.npz'
    npz.write_bytes(b'nothing')
    check_refused(npz, 'cannot be read as an .npz', capsys)
    np.savez(npz, a=np.zeros(1))
    check_refused(npz, "holds none of TensorFlow's variables", capsys)
    for name in ('model.ckpt.index', 'model.ckpt.data-00000-of-00001', 'model.pbtxt'):
        (tmp_path / name).touch()
        check_refused(tmp_path / name, 'which only TensorFlow reads', capsys)
    check_refused(tmp_path / 'model.ckpt', 'which only TensorFlow reads', capsys)


def test_another_litert_detector_is_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    b = flatbuffers.Builder()
    name = b.CreateString('TFLite_Detection_PostProcess')
    tflite.OperatorCodeStart(b)
    tflite.OperatorCodeAddCustomCode(b, name)
    tflite.OperatorCodeAddBuiltinCode(b, tflite.BuiltinOperator.CUSTOM)
    code = tflite.OperatorCodeEnd(b)
    tflite.OperatorStart(b)
    operator = tflite.OperatorEnd(b)
    vectors = []
    for start, value in (
        (tflite.ModelStartOperatorCodesVector, code),
        (tflite.SubGraphStartOperatorsVector, operator),
    ):
        start(b, 1)
        b.PrependUOffsetTRelative(value)
        vectors.append(b.EndVector())
    tflite.SubGraphStart(b)
    tflite.SubGraphAddOperators(b, vectors[1])
    graph = tflite.SubGraphEnd(b)
    tflite.ModelStartSubgraphsVector(b, 1)
    b.PrependUOffsetTRelative(graph)
    graphs = b.EndVector()
    tflite.ModelStart(b)
    tflite.ModelAddOperatorCodes(b, vectors[0])
    tflite.ModelAddSubgraphs(b, graphs)
    b.Finish(tflite.ModelEnd(b), b'TFL3')
    (tmp_path / 'model.tflite').write_bytes(b.Output())
    check_refused(tmp_path / 'model.tflite', 'is a detector, and not', capsys)


def test_pipelines_that_are_refused(
    sample, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    path = tmp_path / 'graph.pb'
    path.write_bytes(write_graph(sample('detector').variables).SerializeToString())
    wish = ('--config-out', tmp_path / 'fitting.py')
    for old, new, message in (
        ('num_classes: 90', 'num_classes: 5', 'do not belong together'),
        ('width: 320', 'width: 300', 'for pictures of 320×300'),
        ('SIGMOID', 'SOFTMAX', 'score_converter is SOFTMAX'),
        ('fixed_shape', 'keep_aspect_ratio', 'only a fixed_shape_resizer'),
        ('ssd {', 'faster_rcnn {', 'does not describe an SSD'),
        ('model {', 'model {{', 'pipeline.config cannot be read'),
    ):
        text = PIPELINE.replace(old, new)
        (tmp_path / 'pipeline.config').write_text(text, encoding='utf-8')
        check_refused(path, message, capsys, *wish)
    (tmp_path / 'pipeline.config').unlink()
    check_refused(path, '91 outputs, 7 classes are wanted', capsys, '--classes', 7)
