"""Stage times of models."""

import importlib.util
import json
import re
import sys
from functools import partial
from pathlib import Path

import mmdet
import mmpretrain
import mmseg
import numpy as np
import pytest
import torch
import torchvision

from mmnv3.benchmark import latency
from mmnv3.benchmark.counts import count
from mmnv3.benchmark.foreign import build_torchvision
from mmnv3.benchmark.latency import benchmark_latency
from mmnv3.benchmark.machine import measure_peak_memory
from mmnv3.benchmark.models import (
    Exportable,
    build_random,
    find_models,
    find_pretrained,
)
from mmnv3.benchmark.timed_model import (
    NETWORK,
    NETWORK_AND_POST,
    POST,
    PRE,
    Request,
    TimedModel,
    compiler_error,
    run_stages,
    start_model,
)
from mmnv3.deploy.predictor import Predictor
from mmnv3.engine.config import read_config
from mmnv3.errors import Remark, UserError

ROOT = Path(__file__).parents[2]
DETECTOR = str(ROOT / 'configs/ssdlite_mnv3_small_coco.py')
SEGMENTER = str(ROOT / 'tests/configs/lraspp_shallow_cityscapes.py')
CLASSIFIER = str(ROOT / 'tests/configs/classifier_shallow.py')
SSDLITE = 'torchvision:ssdlite320_mobilenet_v3_large'


def foreign(toolbox: object, name: str) -> str:
    return str(Path(toolbox.__file__).parent / '.mim/configs' / name)


MMDET_SSDLITE = foreign(mmdet, 'ssd/ssdlite_mobilenetv2-scratch_8xb24-600e_coco.py')
RETINANET = foreign(mmdet, 'retinanet/retinanet_r18_fpn_1x_coco.py')
YOLOX = foreign(mmdet, 'yolox/yolox_tiny_8xb8-300e_coco.py')
MMSEG = foreign(
    mmseg,
    'mobilenet_v3/mobilenet-v3-d8-s_lraspp_4xb4-320k_cityscapes-512x1024.py',
)
MMPRETRAIN = foreign(mmpretrain, 'mobilenet_v3/mobilenet-v3-small_8xb128_in1k.py')


def find(
    name: str, folder: Path, backends: tuple[str, ...] = ('pytorch',), **kwargs: object
) -> tuple[list[TimedModel], list[str]]:
    return find_models(Request(name, **kwargs), backends, ['fp32'], False, folder)


def only(found: tuple[list[TimedModel], list[str]]) -> TimedModel:
    (model,), _ = found
    return model


def test_a_detector_finds_what_its_toolbox_finds(tmp_path: Path) -> None:
    timed = only(find(DETECTOR, tmp_path))
    assert timed.size == (320, 320) and list(timed.stages) == [PRE, NETWORK, POST]
    (found,) = run_stages(timed.stages, timed.pictures)
    model, note = build_random(Request(DETECTOR))
    assert not note
    assert timed.params == sum(part.numel() for part in model.parameters())
    assert timed.madds == count(model, (320, 320)).madds
    with torch.no_grad():
        data = timed.stages[PRE](timed.pictures)
        maps = model.bbox_head(model.extract_feat(torch.from_numpy(data)))
        meta = dict(
            img_shape=(320, 320), ori_shape=(480, 640), scale_factor=(0.5, 2 / 3)
        )
        (expected,) = model.bbox_head.predict_by_feat(
            *maps, batch_img_metas=[meta], rescale=True
        )
    assert len(found.scores) == len(expected.scores) == 100
    np.testing.assert_allclose(found.scores, expected.scores, atol=1e-5)


def test_a_segmenter_takes_pictures_as_they_are(tmp_path: Path) -> None:
    (timed,), notes = find(SEGMENTER, tmp_path)
    assert timed.size == (640, 480)
    assert 'takes pictures as they are, here 640x480' in notes[0]
    (found,) = run_stages(timed.stages, timed.pictures)
    model, _ = build_random(Request(SEGMENTER))
    with torch.no_grad():
        x = torch.from_numpy(timed.stages[PRE](timed.pictures))
        expected = model.predict(x)[0].pred_sem_seg.data[0]
    assert found.mask.shape == (480, 640)
    assert (found.mask == expected.numpy()).mean() > 0.999


@pytest.mark.parametrize('backend', ['pytorch', 'onnxruntime'])
def test_what_is_timed_is_what_the_predictor_runs(backend: str, tmp_path: Path) -> None:
    """Its memory is used again, and a file chooses the best classes inside."""
    if backend != 'pytorch':
        pytest.importorskip(backend)
    timed = only(find(SEGMENTER, tmp_path, (backend,), size=(96, 64)))
    batch = timed.stages[PRE](timed.pictures)
    assert timed.stages[PRE](timed.pictures) is batch
    outputs = timed.stages[NETWORK](batch)
    assert list(outputs) == (['logits'] if backend == 'pytorch' else ['mask'])
    (found,) = run_stages(timed.stages, timed.pictures)
    if timed.path:
        predict = Predictor(timed.path, threads=1)
    else:
        with pytest.warns(Remark, match='random weights'):
            predict = Predictor(SEGMENTER, size=(96, 64), threads=1)
    assert predict.run(batch).keys() == outputs.keys()
    np.testing.assert_array_equal(found.mask, predict(timed.pictures[0]).mask)


def test_what_a_foreign_model_raises_is_explained() -> None:
    def fail(state: object) -> None:
        raise RuntimeError('no compiler\nand pages more')

    request, module = Request(SEGMENTER), torch.nn.Conv2d(3, 1, 1)
    start = partial(start_model, request, lambda: {PRE: fail}, (8, 8), module, module)
    with pytest.raises(UserError, match=r'\(no compiler\); it needs a C\+\+ compiler'):
        start(explain=compiler_error)
    with pytest.raises(RuntimeError, match='pages more'):
        start()


def test_a_batch_of_pictures_for_a_classifier(tmp_path: Path) -> None:
    timed = only(find(CLASSIFIER, tmp_path, size=(64, 96), batch=2))
    prepared = timed.stages[PRE](timed.pictures)
    assert prepared.shape == (2, 3, 96, 64)
    found = run_stages(timed.stages, timed.pictures)
    assert len(found) == 2
    np.testing.assert_array_equal(found[0].labels, found[1].labels)


def test_torchvision_is_divided_as_its_own_code(tmp_path: Path) -> None:
    timed = only(find(SSDLITE, tmp_path))
    assert timed.size == (320, 320) and list(timed.stages) == [PRE, NETWORK, POST]
    picture = timed.pictures[0]
    x = torchvision.transforms.functional.to_tensor(picture[..., ::-1].copy())
    with torch.no_grad():
        (found,) = run_stages(timed.stages, [picture])
        (expected,) = build_torchvision(SSDLITE).eval()([x])
    for name in expected:
        torch.testing.assert_close(found[name], expected[name])
    # Its own figure is 0.583 GMAdds.
    assert timed.madds == pytest.approx(583e6, rel=0.01)


def test_other_models_of_torchvision(tmp_path: Path) -> None:
    timed = only(find('torchvision:lraspp_mobilenet_v3_large', tmp_path, size=(96, 64)))
    with torch.no_grad():
        mask = run_stages(timed.stages, timed.pictures)
        model = build_torchvision(timed.request.model).eval()
        expected = model(timed.stages[PRE](timed.pictures))['out'].argmax(1)
    assert torch.equal(mask, expected) and mask.shape == (1, 64, 96)
    timed = only(find('torchvision:mobilenet_v3_small', tmp_path))
    assert timed.size == (224, 224)
    with torch.no_grad():
        assert run_stages(timed.stages, timed.pictures).indices.shape == (1, 5)


@pytest.mark.parametrize(
    ('name', 'size', 'stages'),
    [
        (MMDET_SSDLITE, (320, 320), [PRE, NETWORK, POST]),
        (MMPRETRAIN, (224, 224), [PRE, NETWORK, POST]),
    ],
)
def test_foreign_configs_that_can_be_exported(
    name: str, size: tuple[int, int], stages: list[str], tmp_path: Path
) -> None:
    timed = only(find(name, tmp_path))
    assert timed.size == size and list(timed.stages) == stages
    assert run_stages(timed.stages, timed.pictures) and timed.madds > 5e7


def test_weights_that_a_foreign_config_starts_from_are_not_fetched(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fetch(*_: object, **__: object) -> None:
        raise AssertionError('something was fetched')

    monkeypatch.setattr(torch.hub, 'load_state_dict_from_url', fetch)
    monkeypatch.setattr('mmengine.runner.CheckpointLoader.load_checkpoint', fetch)
    assert find_pretrained(read_config(RETINANET)) == ['model.backbone.init_cfg']
    (timed,), notes = find(RETINANET, tmp_path, size=(96, 64))
    assert 'random weights' in notes[0]
    assert list(timed.stages) == [PRE, NETWORK, POST]
    with torch.no_grad():
        assert run_stages(timed.stages, timed.pictures)[0].bboxes.shape[1] == 4
    with pytest.raises(UserError, match=r'predict.*--backend pytorch takes it'):
        find(RETINANET, tmp_path, ('onnxruntime',), size=(96, 64))


def test_a_foreign_size_keeps_the_ratio(tmp_path: Path) -> None:
    timed = only(find(YOLOX, tmp_path))
    # The config's 416 pixels, of a picture of 640x480.
    assert timed.size == (416, 312)
    assert list(timed.stages) in ([PRE, NETWORK, POST], [PRE, NETWORK_AND_POST])


def test_all_backends_pass_over_what_is_missing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(self: Exportable, backend: str, *args: object) -> TimedModel:
        if backend != 'pytorch':
            raise UserError('it is not installed; pip install it')
        return original(self, backend, *args)

    original = Exportable.start
    monkeypatch.setattr(Exportable, 'start', refuse)
    backends = ['pytorch', 'openvino']
    request = Request(DETECTOR)
    models, notes = find_models(request, backends, ['fp32'], True, tmp_path)
    assert [model.backend for model in models] == ['pytorch']
    assert notes[-1].endswith(
        'openvino fp32 is left out: it is not installed; pip install it'
    )
    with pytest.raises(UserError, match='not installed'):
        find_models(request, backends, ['fp32'], False, tmp_path)


def test_rows_of_models_and_backends(
    tmp_path: Path, capsys: pytest.CaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip('onnxruntime')
    # A process that imports a toolbox takes ten seconds; see the next test.
    monkeypatch.setattr(
        latency,
        'measure_peak_memory',
        lambda child: measure_peak_memory(child) if child['path'] else None,
    )
    path, plot = tmp_path / 'found.json', tmp_path / 'found.png'
    rows = benchmark_latency(
        [Request(SEGMENTER, size=(96, 64))],
        ['pytorch', 'onnxruntime'],
        runs=3,
        json_path=path,
        plot_path=plot,
    )
    found = json.loads(path.read_text())
    assert [(row['backend'], row['input_size']) for row in found['rows']] == [
        ('pytorch', [96, 64]),
        ('onnxruntime', [96, 64]),
    ]
    for row, printed in zip(rows, found['rows']):
        runs = printed['runs_ms']
        assert list(runs) == [PRE, NETWORK, POST] and len(runs[PRE]) == 3
        whole = np.sum(list(runs.values()), axis=0)
        np.testing.assert_allclose(row.whole_ms, whole)
        assert printed['whole_ms']['p50'] == pytest.approx(np.median(whole))
        assert printed['pictures_per_second'] == pytest.approx(1e3 / np.median(whole))
        assert printed['params'] > 2e5 and printed['size_bytes'] > 5e5
        assert printed['load_seconds'] > 0
    memory = [row['peak_memory_mib'] for row in found['rows']]
    assert memory[0] is None and 5 < memory[1]['model'] < memory[1]['total']
    assert found['rows'][0]['to_the_first'] == 1
    assert found['machine']['threads'] == 1 and found['settings']['runs'] == 3
    text = capsys.readouterr().out
    for words in ('MAdds', 'post-processing is', 'torch 2', 'onnxruntime'):
        assert words in text
    best = min(rows, key=lambda row: np.median(row.whole_ms)).timed.backend
    assert f'lraspp_shallow_cityscapes is the fastest in {best} fp32' in text
    assert plot.read_bytes().startswith(b'\x89PNG')


def test_the_fastest_is_not_asked_for_but_told() -> None:
    with pytest.raises(UserError, match=r'--precision auto .* names the fastest$'):
        benchmark_latency([Request(SEGMENTER)], precisions=['auto'])


@pytest.mark.slow  # A process of its own for each, which import toolboxes and runtimes.
def test_a_file_needs_less_memory_than_its_config(tmp_path: Path) -> None:
    pytest.importorskip('onnxruntime')
    backends = ('pytorch', 'onnxruntime')
    models, _ = find(SEGMENTER, tmp_path, backends, size=(96, 64))
    built, file = (measure_peak_memory(model.child) for model in models)
    assert 5 < file.model < file.total and 5 < built.model < built.total
    # The file's process does without the toolboxes.
    assert file.total < built.total


def run_tool(*args: object) -> None:
    """Runs the tool in this process: starting another takes seconds."""
    path = ROOT / 'tools/benchmark.py'
    spec = importlib.util.spec_from_file_location('benchmark_tool', path)
    tool = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(tool)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, 'argv', ['benchmark.py', *map(str, args)])
        tool.main()


@pytest.mark.parametrize(
    ('args', 'line'),
    [
        ([DETECTOR, '--backend', 'gone'], r"backend 'gone' is unknown; possible: py"),
        ([DETECTOR, '--precision', 'int4'], r"precision 'int4' is unknown; possible"),
        ([DETECTOR, '--precision', 'int8'], r"'pytorch' has no int8, but fp32, bf16"),
        ([DETECTOR, '--size', '96', '96'], r'anchors are laid out for 320x320'),
        (['torchvision:gone'], r"no model 'gone'; it has .*lraspp_mob"),
        ([SSDLITE, '--size', '96', '96'], r'leave --size out'),
        ([SSDLITE, '--backend', 'openvino'], r'--backend pytorch takes it'),
        ([DETECTOR, SEGMENTER, '--checkpoint', 'x'], r'for one config'),
        ([DETECTOR, '--plot', 'a.txt'], r'--plot a.txt must end in .png'),
    ],
)
def test_mistakes_are_told_in_one_line(
    args: list[str], line: str, capsys: pytest.CaptureFixture
) -> None:
    with pytest.raises(SystemExit) as ended:
        run_tool(*args)
    assert ended.value.code == 2
    error = capsys.readouterr().err
    assert re.search(rf'^error: .*{line}', error, re.MULTILINE), error


def test_the_tool_refuses_a_checkpoint_of_another_network(
    tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    path = tmp_path / 'other.pth'
    torch.save(dict(state_dict=torch.nn.Linear(1, 1).state_dict()), path)
    with pytest.raises(SystemExit):
        run_tool(DETECTOR, '--checkpoint', path, '--runs', '2')
    error = capsys.readouterr().err
    assert re.search(r'error: .*other\.pth does not fit .*ssdlite', error)
