"""Stage times of models."""

import importlib.util
import json
import re
import sys
from pathlib import Path

import mmdet
import mmpretrain
import mmseg
import numpy as np
import pytest
import torch
import torchvision

from mmnv3.benchmark import subjects as subjects_module
from mmnv3.benchmark.benchmark import benchmark_latency
from mmnv3.benchmark.complexity import count
from mmnv3.benchmark.latency import Summary, measure
from mmnv3.benchmark.subject import (
    NETWORK,
    NETWORK_AND_POST,
    POST,
    PRE,
    Request,
    Subject,
    run_stages,
)
from mmnv3.benchmark.subjects import Subjects, build_random, find_pretrained
from mmnv3.benchmark.torchvision_subjects import build_torchvision
from mmnv3.engine.config import read_config
from mmnv3.errors import UserError

ROOT = Path(__file__).parents[2]
DETECTOR = str(ROOT / 'configs/ssdlite_mnv3_small_coco.py')
SEGMENTER = str(ROOT / 'configs/lraspp_mnv3_small_cityscapes.py')
CLASSIFIER = str(ROOT / 'configs/mnv3_small_imagenet.py')
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


def add(
    name: str, folder: Path, backends: tuple[str, ...] = ('pytorch',), **kwargs: object
) -> Subjects:
    subjects = Subjects()
    subjects.add(Request(name, **kwargs), backends, ['fp32'], False, folder)
    return subjects


def only(subjects: Subjects) -> Subject:
    assert len(subjects.ready) == 1
    return subjects.ready[0]


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


def test_a_summary_says_how_far_runs_spread() -> None:
    summary = Summary.of(np.arange(1.0, 12.0))
    assert (summary.p50, summary.p90) == (6, 10)
    assert summary.p99 == pytest.approx(10.9)
    assert summary.spread == pytest.approx((10 - 2) / 6)


def test_a_detector_finds_what_its_toolbox_finds(tmp_path: Path) -> None:
    subject = only(add(DETECTOR, tmp_path))
    assert subject.size == (320, 320) and list(subject.stages) == [PRE, NETWORK, POST]
    (found,) = run_stages(subject.stages, subject.pictures)
    model, note = build_random(Request(DETECTOR))
    assert not note
    assert subject.params == sum(part.numel() for part in model.parameters())
    assert subject.madds == count(model, (320, 320)).madds
    with torch.no_grad():
        data = subject.stages[PRE](subject.pictures)
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
    subjects = add(SEGMENTER, tmp_path)
    subject = only(subjects)
    assert subject.size == (640, 480)
    assert 'takes pictures as they are, here 640x480' in subjects.notes[0]
    (found,) = run_stages(subject.stages, subject.pictures)
    model, _ = build_random(Request(SEGMENTER))
    with torch.no_grad():
        x = torch.from_numpy(subject.stages[PRE](subject.pictures))
        expected = model.predict(x)[0].pred_sem_seg.data[0]
    assert found.mask.shape == (480, 640)
    assert (found.mask == expected.numpy()).mean() > 0.999


def test_a_batch_of_pictures_for_a_classifier(tmp_path: Path) -> None:
    subject = only(add(CLASSIFIER, tmp_path, size=(64, 96), batch=2))
    prepared = subject.stages[PRE](subject.pictures)
    assert prepared.shape == (2, 3, 96, 64)
    found = run_stages(subject.stages, subject.pictures)
    assert len(found) == 2
    np.testing.assert_array_equal(found[0].labels, found[1].labels)


def test_torchvision_is_divided_as_its_own_code(tmp_path: Path) -> None:
    subject = only(add(SSDLITE, tmp_path))
    assert subject.size == (320, 320) and list(subject.stages) == [PRE, NETWORK, POST]
    picture = subject.pictures[0]
    x = torchvision.transforms.functional.to_tensor(picture[..., ::-1].copy())
    with torch.no_grad():
        (found,) = run_stages(subject.stages, [picture])
        (expected,) = build_torchvision(SSDLITE).eval()([x])
    for name in expected:
        torch.testing.assert_close(found[name], expected[name])
    # Its own figure is 0.583 GMAdds.
    assert subject.madds == pytest.approx(583e6, rel=0.01)


def test_other_models_of_torchvision(tmp_path: Path) -> None:
    subject = only(
        add('torchvision:lraspp_mobilenet_v3_large', tmp_path, size=(96, 64))
    )
    with torch.no_grad():
        mask = run_stages(subject.stages, subject.pictures)
        model = build_torchvision(subject.model).eval()
        expected = model(subject.stages[PRE](subject.pictures))['out'].argmax(1)
    assert torch.equal(mask, expected) and mask.shape == (1, 64, 96)
    subject = only(add('torchvision:mobilenet_v3_small', tmp_path))
    assert subject.size == (224, 224)
    with torch.no_grad():
        assert run_stages(subject.stages, subject.pictures).indices.shape == (1, 5)


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
    subject = only(add(name, tmp_path))
    assert subject.size == size and list(subject.stages) == stages
    assert run_stages(subject.stages, subject.pictures) and subject.madds > 5e7


def test_weights_that_a_foreign_config_starts_from_are_not_fetched(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fetch(*_: object, **__: object) -> None:
        raise AssertionError('something was fetched')

    monkeypatch.setattr(torch.hub, 'load_state_dict_from_url', fetch)
    monkeypatch.setattr('mmengine.runner.CheckpointLoader.load_checkpoint', fetch)
    assert find_pretrained(read_config(RETINANET)) == ['model.backbone.init_cfg']
    subjects = add(RETINANET, tmp_path, size=(96, 64))
    assert 'random weights' in subjects.notes[0]
    subject = only(subjects)
    assert list(subject.stages) == [PRE, NETWORK, POST]
    with torch.no_grad():
        assert run_stages(subject.stages, subject.pictures)[0].bboxes.shape[1] == 4
    with pytest.raises(UserError, match=r'predict.*--backend pytorch takes it'):
        add(RETINANET, tmp_path, ('onnxruntime',), size=(96, 64))


def test_a_foreign_size_keeps_the_ratio(tmp_path: Path) -> None:
    subject = only(add(YOLOX, tmp_path))
    # The config's 416 pixels, of a picture of 640x480.
    assert subject.size == (416, 312)
    assert list(subject.stages) in ([PRE, NETWORK, POST], [PRE, NETWORK_AND_POST])


def test_all_backends_pass_over_what_is_missing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*args: object) -> Subject:
        if args[4] != 'pytorch':
            raise UserError('it is not installed; pip install it')
        return original(*args)

    original = subjects_module.graph_subject
    monkeypatch.setattr(subjects_module, 'graph_subject', refuse)
    subjects = Subjects()
    backends = ['pytorch', 'openvino']
    subjects.add(Request(DETECTOR), backends, ['fp32'], True, tmp_path)
    assert [subject.backend for subject in subjects.ready] == ['pytorch']
    assert subjects.notes[-1].endswith(
        'openvino is left out: it is not installed; pip install it'
    )
    with pytest.raises(UserError, match='not installed'):
        subjects.add(Request(DETECTOR), backends, ['fp32'], False, tmp_path)


def test_rows_of_models_and_backends(
    tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    pytest.importorskip('onnxruntime')
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
        np.testing.assert_allclose(row.whole, whole)
        assert printed['whole_ms']['p50'] == pytest.approx(np.median(whole))
        assert printed['pictures_per_second'] == pytest.approx(1e3 / np.median(whole))
        assert printed['params'] > 4e5 and printed['size_bytes'] > 1e6
        assert printed['load_seconds'] > 0
        memory = printed['peak_memory_mib']
        assert 5 < memory['model'] < memory['total']
    assert found['rows'][0]['to_the_first'] == 1
    assert found['machine']['threads'] == 1 and found['settings']['runs'] == 3
    text = capsys.readouterr().out
    for words in ('MAdds', 'post-processing is', 'torch 2', 'onnxruntime'):
        assert words in text
    # The file's process does without the toolboxes, so it needs less.
    totals = [row['peak_memory_mib']['total'] for row in found['rows']]
    assert totals[1] < totals[0]
    assert plot.read_bytes().startswith(b'\x89PNG')


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
        ([DETECTOR, '--precision', 'int8'], r"'pytorch' has no int8; possible: onnx"),
        ([DETECTOR, '--size', '96', '96'], r'anchors are laid out for 320x320'),
        ([DETECTOR, '--threads', '0'], r'--threads 0 must be a positive number'),
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
