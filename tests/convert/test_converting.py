"""Files: the tool, misfits, LiteRT, and weights straight from a config."""

import pickle
import re
from pathlib import Path

import cv2
import numpy as np
import pytest
import timm
import torch
import torchvision
from ai_edge_litert.interpreter import Interpreter
from safetensors.torch import save_file

from mmnv3.arch import get_spec
from mmnv3.convert import MisfitError, from_ours, read_state, to_ours
from mmnv3.convert.differences import check_against, describe_settings
from mmnv3.convert.formats import FORMATS
from mmnv3.errors import UserError
from mmnv3.models import MobileNetV3, MobileNetV3ClsHead
from tests.tools import Completed, fork_tool

ROOT = Path(__file__).parents[2]
WEIGHTS = next(
    (p for p in (ROOT / 'data/weights', ROOT / '../shared/data/weights') if p.is_dir()),
    ROOT / 'data/weights',
)


def convert(*args: object) -> Completed:
    return fork_tool('convert_checkpoint.py', *args)


@pytest.fixture(scope='module')
def small(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """torchvision's Small, with random weights."""
    torch.manual_seed(0)
    path = tmp_path_factory.mktemp('weights') / 'small.pth'
    torch.save(torchvision.models.mobilenet_v3_small(weights=None).state_dict(), path)
    return path


def test_the_tool_converts_there_and_back(small: Path, tmp_path: Path) -> None:
    done = convert(
        small, '--from', 'torchvision', '--out', tmp_path / 'ours.pth',
        '--config', 'configs/mnv3_small_imagenet_tv.py',
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert 'small at width 1, 1000 classes' in done.stderr
    assert 'warning' not in done.stderr
    written = torch.load(tmp_path / 'ours.pth', weights_only=True)
    assert written['meta']['source'] == str(small)
    done = convert(
        tmp_path / 'ours.pth', '--to', 'torchvision', '--out', tmp_path / 'back.pth'
    )
    assert done.returncode == 0, done.stderr
    back = torch.load(tmp_path / 'back.pth', weights_only=True)
    torchvision.models.mobilenet_v3_small(weights=None).load_state_dict(back)
    before = torch.load(small, weights_only=True)
    assert all(torch.equal(back[key], before[key]) for key in before)


def test_what_keys_cannot_tell_is_warned_about(small: Path, tmp_path: Path) -> None:
    # TensorFlow's padding in the config, torchvision's in the file.
    done = convert(
        small, '--out', tmp_path / 'a.pth', '--config', 'configs/mnv3_small_imagenet.py'
    )
    assert done.returncode == 0, done.stderr
    text = ' '.join(done.stderr.split())
    assert "trained with padding='symmetric', and the config has 'same'" in text


def test_a_misfit_is_listed_and_nothing_is_written(small: Path, tmp_path: Path) -> None:
    state = torch.load(small, weights_only=True)
    state['features.3.block.0.0.weight'] = torch.zeros(80, 24, 1, 1)
    state['features.3.extra'] = torch.zeros(1)
    del state['features.5.block.1.1.bias']
    path = tmp_path / 'odd.pth'
    torch.save(state, path)
    done = convert(path, '--from', 'torchvision', '--out', tmp_path / 'out.pth')
    assert done.returncode == 2
    assert re.search(r'error: .*odd\.pth: 1 of another shape', done.stderr)
    for text in (
        '(features.3.block.0.0.weight is (80, 24, 1, 1), wanted (88, 24, 1, 1))',
        '1 missing in the file (features.5.block.1.1.bias)',
        '1 unknown to the model (features.3.extra)',
        'nearest is torchvision classification: small at width 1, 1000 classes',
    ):
        assert text in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1
    assert not (tmp_path / 'out.pth').exists()


def test_a_file_of_another_network_than_the_config_is_refused(
    small: Path, tmp_path: Path
) -> None:
    done = convert(
        small, '--out', tmp_path / 'a.pth', '--config', 'configs/mnv3_large_imagenet.py'
    )
    assert done.returncode == 2
    assert 'missing in the file (backbone.block12.expand.conv.weight' in done.stderr
    assert not (tmp_path / 'a.pth').exists()


def test_the_eps_of_mmpretrains_weights_is_refused_where_the_config_has_another(
    tmp_path: Path,
) -> None:
    """Its small_075 comes from timm: only its config, no key, tells of 1e-5."""
    spec = get_spec('small', 0.75)
    net = torch.nn.ModuleDict(
        dict(
            backbone=MobileNetV3(spec),
            head=MobileNetV3ClsHead(10, spec.out_channels, spec.head.out),
        )
    )
    theirs = from_ours(net.state_dict(), 'mmpretrain').state
    converted = to_ours(theirs, 'mmpretrain')
    assert converted.network.form.eps == 1e-5
    with pytest.raises(UserError, match=r'eps=1e-05.*config has 0\.001; set norm_cfg'):
        check_against(converted, 'small_075.pth', net)
    state = to_ours(from_ours(backbone_of('small'), 'mmpretrain').state, 'mmpretrain')
    assert state.network.form.eps == 1e-3


def backbone_of(arch: str) -> dict[str, torch.Tensor]:
    return {f'backbone.{k}': v for k, v in MobileNetV3(arch).state_dict().items()}


def test_other_files_are_refused_in_one_line(tmp_path: Path) -> None:
    class Evil:
        def __reduce__(self):
            return (Path.touch, (tmp_path / 'run',))

    (tmp_path / 'evil.pth').write_bytes(pickle.dumps(Evil()))
    (tmp_path / 'text.pth').write_text('hello')
    (tmp_path / 'text.tflite').write_text('hello, world')
    torch.save(dict(a=torch.zeros(1)), tmp_path / 'strange.pth')
    for name, message in (
        ('gone.pth', 'gone.pth: there is no such checkpoint'),
        ('evil.pth', 'evil.pth: not a file of weights only'),
        ('text.pth', 'text.pth cannot be read as a checkpoint'),
        ('text.tflite', 'text.tflite is not a LiteRT file'),
        ('strange.pth', 'strange.pth: its keys tell no project'),
    ):
        done = convert(tmp_path / name, '--out', tmp_path / 'out.pth')
        assert done.returncode == 2, done.stderr
        assert re.search(f'error: .*{message}', done.stderr), done.stderr
    assert not (tmp_path / 'run').exists() and not (tmp_path / 'out.pth').exists()


def test_what_the_other_project_cannot_hold_is_said(tmp_path: Path) -> None:
    state = to_ours(timm.create_model('mobilenetv3_large_075').state_dict(), 'timm')
    torch.save(dict(state_dict=state.state), tmp_path / 'a.pth')
    done = convert(
        tmp_path / 'a.pth', '--to', 'torchvision', '--out', tmp_path / 'b.pth'
    )
    assert done.returncode == 2
    assert 'torchvision has no network that could hold mmnv3' in done.stderr


def backbone(checkpoint: Path | str, **kwargs: object) -> MobileNetV3:
    net = MobileNetV3(
        'small',
        init_cfg=dict(type='mmnv3.ForeignPretrained', checkpoint=str(checkpoint)),
        **kwargs,
    )
    net.init_weights()
    return net


@pytest.fixture
def told(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    lines: list[str] = []
    monkeypatch.setattr(
        'mmnv3.convert.pretrained.print_log', lambda text, **kwargs: lines.append(text)
    )
    return lines


def test_foreign_weights_load_from_a_config(small: Path, told: list[str]) -> None:
    net = backbone(small, padding='symmetric', out_taps=('block4', 'C5')).eval()
    theirs = torchvision.models.mobilenet_v3_small(weights=None)
    theirs.load_state_dict(torch.load(small, weights_only=True))
    x = torch.randn(1, 3, 64, 64)
    with torch.no_grad():
        torch.testing.assert_close(
            net(x)[1], theirs.eval().features(x), atol=1e-4, rtol=1e-4
        )
    assert told == ['loaded torchvision classification: small at width 1, 1000 classes']


def test_a_halved_tail_keeps_its_initialisation_and_says_so(
    small: Path, told: list[str]
) -> None:
    net = backbone(small, padding='symmetric', tail='detection', out_taps=('C4', 'C5'))
    theirs = to_ours(torch.load(small, weights_only=True), 'torchvision').state
    key = 'block9.expand.conv.weight'
    assert torch.equal(net.state_dict()[key], theirs[f'backbone.{key}'])
    assert any('block10, block11, block9, last are of another shape' in t for t in told)


def test_timms_files_and_their_differences(tmp_path: Path, told: list[str]) -> None:
    torch.manual_seed(0)
    state = timm.create_model('tf_mobilenetv3_small_100').state_dict()
    path = tmp_path / 'tf_mobilenetv3_small_100.safetensors'
    save_file(state, path)
    net = backbone(path)
    assert torch.equal(net.stem.conv.weight, state['conv_stem.weight'])
    assert len(told) == 1
    path = path.rename(tmp_path / 'mobilenetv3_small_100.safetensors')
    told.clear()
    backbone(path)
    assert 'eps=1e-05 in batch normalisation, and the config has 0.001' in told[0]
    assert "padding='symmetric', and the config has 'same'" in told[1]


@pytest.mark.parametrize('prefix', ['', 'backbone.', 'module.backbone.'])
def test_our_own_files_load_as_others_do(
    prefix: str, tmp_path: Path, told: list[str]
) -> None:
    own = MobileNetV3('small')
    own.stem.conv.weight.data += 1
    state = {f'{prefix}{key}': value for key, value in own.state_dict().items()}
    torch.save(state | {'head.fc.weight': torch.ones(1)} if prefix else state,
               tmp_path / 'a.pth')  # fmt: skip
    net = backbone(tmp_path / 'a.pth')
    for key, value in own.state_dict().items():
        assert torch.equal(net.state_dict()[key], value), key
    assert told == ['loaded a network of mmnv3']
    with pytest.raises(UserError, match='holds a network of mmnv3, which has no block'):
        MobileNetV3(
            'large',
            init_cfg=dict(
                type='mmnv3.ForeignPretrained', checkpoint=str(tmp_path / 'a.pth')
            ),
        ).init_weights()


def test_another_network_is_refused(small: Path) -> None:
    with pytest.raises(UserError, match='holds torchvision classification: small'):
        MobileNetV3(
            'large',
            init_cfg=dict(type='mmnv3.ForeignPretrained', checkpoint=str(small)),
        ).init_weights()


@pytest.mark.parametrize(
    ('kernel', 'scales', 'zeros', 'axis', 'expected'),
    [
        # One scale for all, as uint8 files of TensorFlow 1 have it.
        (
            np.uint8(
                [
                    [
                        [[3]],
                    ],
                    [[[5]]],
                ]
            ),
            [0.5],
            [3],
            0,
            [0.0, 1.0],
        ),
        # One for every output channel.
        (np.int8([[[[4]]], [[[-6]]]]), [0.5, 2.0], [0, 0], 0, [2.0, -12.0]),
        (np.float32([[[[1.5]]], [[[2.5]]]]), [], [], 0, [1.5, 2.5]),
    ],
)
def test_litert_numbers_are_dequantised(
    kernel, scales, zeros, axis, expected, tmp_path: Path
) -> None:
    path = tmp_path / 'tiny.tflite'
    path.write_bytes(tiny_litert(kernel, scales, zeros, axis))
    state = read_state(path)
    assert state['0.weight'].shape == (2, 1, 1, 1)
    assert state['0.weight'].flatten().tolist() == expected
    assert state['0.bias'].tolist() == [0.25, -0.5]


def tiny_litert(kernel: np.ndarray, scales, zeros, axis: int) -> bytes:
    """A file with one 1x1 convolution from one channel to two."""
    import flatbuffers
    import tflite as t

    b = flatbuffers.Builder(0)

    def vector(start, values, prepend) -> int:
        start(b, len(values))
        for value in reversed(values):
            prepend(value)
        return b.EndVector()

    def buffer(data: bytes) -> int:
        content = b.CreateByteVector(data) if data else None
        t.BufferStart(b)
        if content is not None:
            t.BufferAddData(b, content)
        return t.BufferEnd(b)

    def tensor(shape, kind: int, index: int, scales=(), zeros=()) -> int:
        dims = vector(t.TensorStartShapeVector, shape, b.PrependInt32)
        quantisation = None
        if len(scales):
            s = vector(
                t.QuantizationParametersStartScaleVector, scales, b.PrependFloat32
            )
            z = vector(
                t.QuantizationParametersStartZeroPointVector, zeros, b.PrependInt64
            )
            t.QuantizationParametersStart(b)
            t.QuantizationParametersAddScale(b, s)
            t.QuantizationParametersAddZeroPoint(b, z)
            t.QuantizationParametersAddQuantizedDimension(b, axis)
            quantisation = t.QuantizationParametersEnd(b)
        t.TensorStart(b)
        t.TensorAddShape(b, dims)
        t.TensorAddType(b, kind)
        t.TensorAddBuffer(b, index)
        if quantisation is not None:
            t.TensorAddQuantization(b, quantisation)
        return t.TensorEnd(b)

    kinds = {
        'uint8': t.TensorType.UINT8,
        'int8': t.TensorType.INT8,
        'float32': t.TensorType.FLOAT32,
    }
    buffers = [
        buffer(b''),
        buffer(kernel.tobytes()),
        buffer(np.int32([1, -2]).tobytes()),
    ]
    tensors = [
        tensor((1, 4, 4, 1), t.TensorType.UINT8, 0),
        tensor(kernel.shape, kinds[kernel.dtype.name], 1, scales, zeros),
        tensor((2,), t.TensorType.INT32, 2, [0.25], [0]),
        tensor((1, 4, 4, 2), t.TensorType.UINT8, 0),
    ]
    inputs = vector(t.OperatorStartInputsVector, [0, 1, 2], b.PrependInt32)
    outputs = vector(t.OperatorStartOutputsVector, [3], b.PrependInt32)
    t.OperatorStart(b)
    t.OperatorAddOpcodeIndex(b, 0)
    t.OperatorAddInputs(b, inputs)
    t.OperatorAddOutputs(b, outputs)
    operator = t.OperatorEnd(b)
    operators = vector(
        t.SubGraphStartOperatorsVector, [operator], b.PrependUOffsetTRelative
    )
    places = vector(t.SubGraphStartTensorsVector, tensors, b.PrependUOffsetTRelative)
    t.SubGraphStart(b)
    t.SubGraphAddTensors(b, places)
    t.SubGraphAddOperators(b, operators)
    graph = t.SubGraphEnd(b)
    t.OperatorCodeStart(b)
    t.OperatorCodeAddDeprecatedBuiltinCode(b, t.BuiltinOperator.CONV_2D)
    code = t.OperatorCodeEnd(b)
    codes = vector(t.ModelStartOperatorCodesVector, [code], b.PrependUOffsetTRelative)
    graphs = vector(t.ModelStartSubgraphsVector, [graph], b.PrependUOffsetTRelative)
    data = vector(t.ModelStartBuffersVector, buffers, b.PrependUOffsetTRelative)
    t.ModelStart(b)
    t.ModelAddVersion(b, 3)
    t.ModelAddOperatorCodes(b, codes)
    t.ModelAddSubgraphs(b, graphs)
    t.ModelAddBuffers(b, data)
    b.Finish(t.ModelEnd(b), b'TFL3')
    return bytes(b.Output())


GOOGLE = {
    'v3-small_224_1.0_uint8': ('small', 'hswish', 1024, 576),
    'v3-large-minimalistic_224_1.0_uint8': ('large_minimalistic', 'relu', 1280, 960),
}


@pytest.mark.skipif(not WEIGHTS.is_dir(), reason=f'no weights in {WEIGHTS}')
@pytest.mark.parametrize('name', GOOGLE)
def test_googles_files_compute_what_their_runtime_computes(name: str) -> None:
    arch, act, hidden, channels = GOOGLE[name]
    path = WEIGHTS / f'{name}.tflite'
    converted = to_ours(read_state(path), 'tflite')
    assert converted.network.arch == arch and converted.network.num_classes == 1001
    net = torch.nn.ModuleDict(
        dict(
            backbone=MobileNetV3(arch),
            head=MobileNetV3ClsHead(1001, channels, hidden, act),
        )
    ).eval()
    net.load_state_dict(converted.state)
    interpreter = Interpreter(str(path))
    interpreter.allocate_tensors()
    photos = sorted((WEIGHTS.parent / 'photos').glob('*.jpg'))
    agreeing = 0
    for photo in photos:
        picture = cv2.resize(cv2.imread(str(photo)), (224, 224))[..., ::-1].copy()
        interpreter.set_tensor(
            interpreter.get_input_details()[0]['index'], picture[None]
        )
        interpreter.invoke()
        output = interpreter.get_output_details()[0]
        expected = interpreter.get_tensor(output['index'])[0]
        x = torch.from_numpy(picture).permute(2, 0, 1)[None] / 127.5 - 1
        with torch.no_grad():
            found = net['head']((net['backbone'](x)[0].mean((2, 3)),))[0]
        agreeing += int(expected.argmax()) in found.topk(3).indices.tolist()
    # Some sixty quantised layers lie between; one that is wrong leaves no likeness.
    assert agreeing >= len(photos) - 2, f'{agreeing} of {len(photos)}'


def test_a_detector_of_another_number_of_classes_is_refused() -> None:
    theirs = torchvision.models.detection.ssdlite320_mobilenet_v3_large(
        weights=None, weights_backbone=None, num_classes=5
    )
    with pytest.raises(UserError, match='has 5 outputs, 80 classes are wanted'):
        to_ours(theirs.state_dict(), 'torchvision', 80)


def test_a_misfit_names_every_key() -> None:
    state = torchvision.models.mobilenet_v3_small(weights=None).state_dict()
    state.pop('features.0.0.weight')
    state['features.0.0.weight'] = torch.zeros(17, 3, 3, 3)
    with pytest.raises(MisfitError) as caught:
        to_ours(state, 'torchvision')
    assert len(caught.value.misfit.keys.misshaped) == 1


def test_torchvisions_addresses_load(
    small: Path, told: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = []

    def download(url: str, *args: object, **kwargs: object) -> dict:
        asked.append(url)
        return torch.load(small, weights_only=True)

    monkeypatch.setattr('mmengine.runner.checkpoint.load_from_http', download)
    backbone('torchvision://mobilenet_v3_small', padding='symmetric')
    assert re.fullmatch(r'https://.*mobilenet_v3_small.*\.pth', asked[0])
    assert told == ['loaded torchvision classification: small at width 1, 1000 classes']


def test_settings_are_told_in_a_line() -> None:
    forms = {(form.project, form.task): form for form in FORMATS}
    detector = forms['tensorflow', 'detection']
    assert describe_settings(detector, 'a.pb') == (
        'its backbone wants norm_cfg=dict(type="BN", eps=0.001), padding=\'same\' and '
        "gate='hsigmoid_tf'"
    )
    assert describe_settings(forms['timm', 'classification'], 'a.pth') == (
        'its backbone wants norm_cfg=dict(type="BN", eps=1e-05) and '
        "padding='symmetric'"
    )
    litert = forms['tflite', 'classification']
    assert describe_settings(litert, 'a.tflite') == (
        'its backbone wants norm_cfg=dict(type="BN", eps=0.001) and padding=\'same\''
    )
