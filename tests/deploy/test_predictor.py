"""Pictures in, what the config's own model says out."""

import json
import os
import pickle
import threading
import time
import warnings
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace

import cv2
import numpy as np
import pytest
import torch
from mmdet.structures import DetDataSample
from mmpretrain.structures import DataSample
from mmseg.structures import SegDataSample

import mmnv3
from mmnv3.deploy import export as export_module
from mmnv3.deploy import predictor as predictor_module
from mmnv3.deploy.predict_files import predict_files
from mmnv3.deploy.predictor import Predictor
from mmnv3.deploy.writers import Found, json_writer
from mmnv3.errors import Remark, UserError
from tests.deploy.cases import CASES
from tests.deploy.tiny import write_tiny

BACKENDS = ('pytorch', 'onnxruntime', 'openvino')


def noise(width: int, height: int, seed: int = 0) -> np.ndarray:
    """A picture with coarse and fine detail, BGR."""
    random = np.random.default_rng(seed)
    return sum(
        cv2.resize(random.integers(0, 86, (cells, cells, 3), np.uint8), (width, height))
        for cells in (5, 20, 80)
    )


@pytest.fixture(scope='session')
def weights(exported, tmp_path_factory) -> SimpleNamespace:
    """A checkpoint of a case, and a predictor of its config; exports are kept."""
    folder = tmp_path_factory.mktemp('weights')

    def file(case: str) -> Path:
        path = folder / f'{case}.pth'
        if not path.is_file():
            torch.save(dict(state_dict=exported.model(case).state_dict()), path)
        return path

    def predictor(case: str, backend: str | None = None, **kwargs) -> Predictor:
        return Predictor(
            CASES[case].config,
            file(case),
            backend,
            1,
            options=CASES[case].options,
            **kwargs,
        )

    with pytest.MonkeyPatch.context() as patch:
        patch.setenv('XDG_CACHE_HOME', str(folder / 'cache'))
        patch.setattr(export_module, 'export_graph', exported.export)
        yield SimpleNamespace(file=file, predictor=predictor)


@torch.no_grad()
def own_result(model, picture: np.ndarray, size: tuple[int, int]):
    """What the toolbox's model predicts on a picture that is stretched to a size."""
    shape = picture.shape[:2]
    kind = (
        DetDataSample
        if hasattr(model, 'bbox_head')
        else SegDataSample
        if hasattr(model, 'decode_head')
        else DataSample
    )
    sample = kind(
        metainfo=dict(
            ori_shape=shape,
            img_shape=size[::-1],
            scale_factor=(size[0] / shape[1], size[1] / shape[0]),
        )
    )
    x = torch.from_numpy(cv2.resize(picture, size)).permute(2, 0, 1)
    data = dict(inputs=[x], data_samples=[sample])
    return model.test_step(data)[0]


def assert_same_detections(found, expected) -> None:
    assert len(found.boxes) == len(expected.bboxes) > 20
    np.testing.assert_allclose(found.scores, expected.scores, atol=1e-4)
    # What scores the same but for rounding may change places.
    apart = np.abs(found.boxes[:, None] - expected.bboxes.numpy()).max(-1)
    apart[found.labels[:, None] != expected.labels.numpy()] = np.inf
    assert apart.min(1).max() < 0.05
    assert len(set(apart.argmin(1))) == len(found.boxes)


@pytest.mark.parametrize('backend', BACKENDS)
def test_boxes_are_those_of_the_model(exported, weights, backend) -> None:
    picture = noise(300, 200)
    expected = own_result(exported.model('wide'), picture, CASES['wide'].size)
    found = weights.predictor('wide', backend)(picture)
    assert_same_detections(found, expected.pred_instances)
    assert found.boxes.dtype == found.scores.dtype == np.float32
    assert found.boxes[:, 2].max() > 193  # Pixels of the picture, not of the input.
    assert found.classes[0] == 'disc'


@pytest.mark.parametrize('kind', ['pytorch', 'onnx', 'openvino'])
def test_exported_files_find_the_same(exported, kind) -> None:
    picture = noise(300, 200)
    expected = own_result(exported.model('wide'), picture, CASES['wide'].size)
    found = Predictor(exported.file('wide', kind), threads=1)(picture)
    assert_same_detections(found, expected.pred_instances)


@pytest.mark.parametrize('backend', BACKENDS)
def test_masks_are_those_of_the_model(exported, weights, backend) -> None:
    picture = noise(*CASES['windows'].size)
    expected = own_result(exported.model('windows'), picture, CASES['windows'].size)
    found = weights.predictor('windows', backend)(picture)
    assert found.mask.shape == picture.shape[:2] and found.mask.dtype == np.uint8
    same = found.mask == expected.pred_sem_seg.data[0].numpy()
    assert same.mean() > 0.999 and len(np.unique(found.mask)) > 2


def test_a_segmenter_keeps_every_size_in_pytorch(exported, weights) -> None:
    predict = weights.predictor('lraspp', batch=2)
    pictures = [noise(193, 129), noise(193, 129, 1), noise(97, 161), noise(193, 129)]
    with warnings.catch_warnings():
        warnings.simplefilter('error', Remark)
        found = predict(pictures)
    for picture, result in zip(pictures, found, strict=True):
        size = picture.shape[1::-1]
        expected = own_result(exported.model('lraspp'), picture, size)
        same = result.mask == expected.pred_sem_seg.data[0].numpy()
        assert same.mean() > 0.999


def test_elsewhere_others_are_stretched_to_the_first_with_a_remark(weights) -> None:
    predict = weights.predictor('windows', 'onnxruntime')
    picture = noise(*CASES['windows'].size)
    first = predict(picture)
    with pytest.warns(Remark, match='for 192x160, the size of the first'):
        other = predict(picture.repeat(2, axis=0).repeat(2, axis=1))
    np.testing.assert_array_equal(
        other.mask, first.mask.repeat(2, axis=0).repeat(2, axis=1)
    )


@pytest.mark.parametrize('backend', ['pytorch', 'onnxruntime'])
def test_classes_are_those_of_the_model(exported, weights, backend) -> None:
    picture = noise(300, 200)
    # The config: short side 256, then the middle 224.
    middle = cv2.resize(picture, (384, 256))[16:240, 80:304]
    expected = own_result(exported.model('classifier'), middle, (224, 224))
    found = weights.predictor('classifier', backend)(picture)
    assert found.labels[0] == expected.pred_label.item()
    top = expected.pred_score.topk(5)
    assert found.labels.tolist() == top.indices.tolist()
    np.testing.assert_allclose(found.scores, top.values, atol=1e-5)


def test_batches_say_what_single_pictures_say(weights) -> None:
    pictures = [noise(200, 150, seed) for seed in range(5)]
    single = weights.predictor('wide')
    batched = weights.predictor('wide', batch=2)
    assert batched(pictures[0]).boxes.shape == single(pictures[0]).boxes.shape
    found = batched(pictures)
    assert len(found) == 5 and batched([]) == []
    for picture, result in zip(pictures, found, strict=True):
        expected = single(picture)
        np.testing.assert_allclose(result.boxes, expected.boxes, atol=1e-2)
        np.testing.assert_allclose(result.scores, expected.scores, atol=1e-5)


def test_stages_add_up(weights) -> None:
    predict = weights.predictor('wide')
    picture = noise(200, 150)
    batch = predict.prepare(picture)
    assert batch.shape == predict.info.input_shape and batch.dtype == np.float32
    found = predict.finish(predict.run(batch), [(200, 150)])
    np.testing.assert_array_equal(found[0].boxes, predict(picture).boxes)
    # What comes later does not write into what was returned.
    before = batch.copy()
    predict.prepare(noise(200, 150, 1))
    np.testing.assert_array_equal(batch, before)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Ten pictures in two folders, and three files that are none."""
    for number in range(10):
        path = tmp_path / ('even' if number % 2 == 0 else '') / f'{number}.png'
        path.parent.mkdir(exist_ok=True)
        cv2.imwrite(str(path), noise(60, 40, number))
    (tmp_path / '0.jpg').write_text('hello')
    (tmp_path / '5.jpg').touch()
    half = (tmp_path / '9.png').read_bytes()[:400]
    (tmp_path / 'even' / '9.png').write_bytes(half)
    return tmp_path


@pytest.mark.parametrize('batch', [1, 3])
def test_folders_are_predicted_in_order_without_unreadable_files(
    weights, folder, batch
) -> None:
    predict = weights.predictor('wide', batch=batch)
    predict.threads = 2
    with pytest.warns(Remark, match=r'3 of 13 files skipped: .*0\.jpg: not a') as told:
        found = list(predict(folder))
    assert len([w for w in told if w.category is Remark]) == 1
    names = [str(path.relative_to(folder)) for path, _ in found]
    assert names == [
        '1.png', '3.png', '5.png', '7.png', '9.png',
        'even/0.png', 'even/2.png', 'even/4.png', 'even/6.png', 'even/8.png',
    ]  # fmt: skip
    for path, result in found[::3]:
        np.testing.assert_allclose(result.scores, predict(path).scores, atol=1e-5)


@pytest.mark.parametrize('batch', [1, 3])
def test_a_file_may_be_named_twice(weights, folder, batch) -> None:
    predict = weights.predictor('wide', batch=batch)
    files = [folder / '1.png', folder / '1.png', folder / '0.jpg', folder / '3.png']
    with pytest.warns(Remark, match='1 of 4 files skipped'):
        found = list(predict.stream(files))
    assert [file.name for file, _ in found] == ['1.png', '1.png', '3.png']
    np.testing.assert_array_equal(found[0][1].boxes, found[1][1].boxes)
    assert not np.array_equal(found[1][1].boxes, found[2][1].boxes)


def test_folders_are_read_little_by_little(weights, folder, monkeypatch) -> None:
    read, threads = [], set()

    def spy(path: Path) -> np.ndarray:
        read.append(path)
        threads.add(threading.current_thread())
        return noise(60, 40)

    monkeypatch.setattr(predictor_module, 'read_picture', spy)
    predict = weights.predictor('wide')
    predict.threads = 2
    files = [folder / f'{number}.jpg' for number in range(1000)]
    before = torch.get_num_threads()
    found = predict.stream(files)
    assert not read
    for _ in range(3):
        next(found)
    # One that starts the model, three, and two for each of two threads.
    assert len(read) <= 1 + 3 + 4
    found.close()
    assert len(threads) > 1 and torch.get_num_threads() == before
    assert not [t for t in threading.enumerate() if t.name.startswith('mmnv3')]


def test_the_bar_shows_only_when_asked_or_on_a_terminal(
    weights, folder, capsys
) -> None:
    predict = weights.predictor('wide')
    files = sorted(folder.glob('even/*[02468].png'))
    assert len(list(predict.stream(files))) == 5
    assert capsys.readouterr().err == ''
    list(predict.stream(files, progress=True))
    assert '5/5' in capsys.readouterr().err


def test_folders_without_pictures_are_told(weights, tmp_path) -> None:
    predict = weights.predictor('wide')
    with pytest.raises(UserError, match='the folder is empty'):
        predict(tmp_path)
    (tmp_path / 'a.txt').write_text('hello')
    with pytest.raises(UserError, match=r'1 of 1 files skipped: .*a\.txt: not a'):
        list(predict(tmp_path))


def test_an_error_of_the_work_ends_the_stream(weights, folder) -> None:
    def fail(*_: object) -> None:
        raise UserError('disk full')

    with pytest.raises(UserError, match='disk full'):
        list(weights.predictor('wide').stream([folder / '1.png'], use=fail))


def test_without_a_checkpoint_there_is_a_warning() -> None:
    with pytest.warns(UserWarning, match='is run with random weights') as told:
        predict = Predictor(CASES['wide'].config, options=CASES['wide'].options)
    assert '\n' not in str(told[0].message)
    assert len(predict(noise(60, 40)).boxes) > 0


def test_what_does_not_fit_is_told(exported, weights, tmp_path) -> None:
    path = exported.file('wide', 'onnx')
    config, checkpoint = CASES['wide'].config, weights.file('wide')
    text = tmp_path / 'a.onnx'
    text.write_text('hello')
    for args, kwargs, message in (
        (('gone.py',), {}, 'gone.py: there is no such config'),
        (('gone.onnx',), {}, 'gone.onnx: there is no such file'),
        ((text,), {}, 'cannot be read'),
        ((config, 'gone.pth'), {}, 'gone.pth: there is no such checkpoint'),
        ((config, checkpoint, 'tvm'), {}, "'tvm' is unknown; possible: pytorch"),
        ((config, checkpoint), {'threads': 0}, 'threads=0 must be at least 1'),
        ((path, None, 'openvino'), {}, "for the backend 'onnxruntime', not 'openv"),
        ((path, checkpoint), {}, 'is exported and takes no checkpoint'),
        ((path,), {'options': {'a': 1}}, 'is exported and takes no options'),
        ((path,), {'size': (320, 320)}, 'for a size of 193x128, not 320x320'),
        ((path,), {'batch': 2}, 'for a batch of 1, not 2'),
    ):
        with pytest.raises(UserError, match=message) as error:
            Predictor(*args, **kwargs)(noise(60, 40))
        assert '\n' not in str(error.value)


def test_what_is_no_picture_is_told(weights, tmp_path) -> None:
    predict = weights.predictor('wide')
    for picture, message in (
        (tmp_path / 'gone.jpg', 'cannot be opened'),
        (np.zeros((4, 4, 3)), 'float64 of'),
        (None, 'this is a NoneType'),
        ([noise(60, 40), 3], 'this is a int'),
    ):
        with pytest.raises(UserError, match=message):
            predict(picture)


def test_mmnv3_brings_it() -> None:
    assert mmnv3.Predictor is Predictor
    with pytest.raises(AttributeError, match="no attribute 'Predictr'"):
        mmnv3.Predictr  # noqa: B018


def test_an_exported_file_needs_no_toolbox(exported, run_python, tmp_path) -> None:
    cv2.imwrite(str(tmp_path / 'a.png'), noise(60, 40))
    out = run_python(
        f"""
import sys
import mmnv3
print('torch' in sys.modules)
predict = mmnv3.Predictor({str(exported.file('wide', 'onnx'))!r})
[(path, result)] = predict.stream([{str(tmp_path / 'a.png')!r}])
print(path.name, len(result.boxes) > 20)
from mmnv3.deploy.predict_files import predict_files
predict_files(predict, [path], 'drawn', tell=lambda line: None)
print([m for m in sys.modules if m in ('mmcv', 'mmdet', 'mmseg', 'mmpretrain')])
"""
    )
    assert out.splitlines() == ['False', 'a.png True', '[]']
    assert (tmp_path / 'drawn' / 'a.png').is_file()


@pytest.mark.parametrize('kind', ['onnx', 'openvino', 'pytorch'])
def test_threads_get_what_one_gets(tmp_path, kind) -> None:
    path = write_tiny(tmp_path, kind)
    pictures = [noise(60, 40, seed) for seed in range(8)]
    predict = Predictor(path, threads=1)
    with ThreadPoolExecutor(4) as pool:  # The first calls start the model at once.
        found = list(pool.map(predict, pictures * 10))
    expected = [predict(picture) for picture in pictures]
    for result, wanted in zip(found, expected * 10, strict=True):
        np.testing.assert_array_equal(result.boxes, wanted.boxes)
        np.testing.assert_array_equal(result.scores, wanted.scores)


def test_threads_share_a_config(weights) -> None:
    predict = weights.predictor('wide')
    pictures = [noise(60, 40, seed) for seed in range(4)]
    before = torch.get_num_threads()
    with ThreadPoolExecutor(4) as pool:
        found = list(pool.map(predict, pictures * 5))
    assert torch.get_num_threads() == before
    for result, wanted in zip(found, [predict(x) for x in pictures] * 5, strict=True):
        np.testing.assert_array_equal(result.boxes, wanted.boxes)


def test_a_predictor_pickles_its_settings(tmp_path) -> None:
    predict = Predictor(write_tiny(tmp_path, 'onnx'), threads=1, batch=1)
    picture = noise(60, 40)
    expected = predict(picture)
    other = pickle.loads(pickle.dumps(predict))
    assert other.threads == 1
    np.testing.assert_array_equal(other(picture).boxes, expected.boxes)


def test_an_abandoned_stream_frees_its_threads(tmp_path) -> None:
    for number in range(20):
        cv2.imwrite(str(tmp_path / f'{number}.png'), noise(60, 40, number))
    predict = Predictor(write_tiny(tmp_path, 'onnx'), threads=2)
    found = predict.stream(sorted(tmp_path.glob('*.png')), progress=True)
    next(found)
    del found
    assert not [t for t in threading.enumerate() if t.name.startswith('mmnv3')]


def test_any_iterator_is_a_stream(tmp_path) -> None:
    predict = Predictor(write_tiny(tmp_path, 'onnx'), threads=2)
    cv2.imwrite(str(tmp_path / 'a.png'), noise(60, 40))
    taken = []

    def pictures():
        for number in range(1000):
            taken.append(number)
            yield tmp_path / 'a.png' if number == 1 else noise(60, 40, number)

    found = predict.stream(pictures())
    assert not taken
    first = [next(found) for _ in range(3)]
    assert [key for key, _ in first] == [0, tmp_path / 'a.png', 2]
    np.testing.assert_array_equal(first[2][1].boxes, predict(noise(60, 40, 2)).boxes)
    # Three, and two for each of two threads.
    assert len(taken) <= 3 + 4
    found.close()
    assert not [t for t in threading.enumerate() if t.name.startswith('mmnv3')]
    assert list(predict.stream(iter([]))) == []
    with pytest.warns(Remark, match='1 of 2 files skipped: a picture is a uint8'):
        assert len(list(predict.stream([noise(60, 40), np.zeros(3)]))) == 1


def test_a_slow_iterator_does_not_hold_back_what_is_ready(tmp_path) -> None:
    predict = Predictor(write_tiny(tmp_path, 'onnx'), threads=1)
    used, seen = threading.Event(), threading.Event()

    def camera():
        yield noise(60, 40)
        assert used.wait(60)
        time.sleep(0.2)  # What was used is handed over a moment later.
        yield noise(60, 40)
        assert seen.wait(60)
        yield noise(60, 40)

    for _ in predict.stream(camera(), use=lambda *_: used.set()):
        seen.set()


@pytest.mark.slow  # Ten seconds: memory shows that it is flat only in the long run.
def test_long_runs_keep_memory_flat(tmp_path) -> None:
    psutil = pytest.importorskip('psutil', reason='psutil is not installed')
    predict = Predictor(write_tiny(tmp_path, 'onnx'), threads=2)
    process = psutil.Process()
    picture = noise(640, 480)

    def grown_mib(count: int) -> float:
        before = process.memory_info().rss
        found = predict.stream(picture.copy() for _ in range(count))
        assert sum(1 for _ in found) == count
        return (process.memory_info().rss - before) / 2**20

    grown_mib(500)
    # All of these pictures would take 1758.
    assert grown_mib(2000) < 20


@pytest.mark.slow  # A minute: it is ten thousand pictures that are told to be few.
def test_a_folder_of_ten_thousand_pictures_keeps_memory_flat(tmp_path) -> None:
    psutil = pytest.importorskip('psutil', reason='psutil is not installed')
    folder = tmp_path / 'pictures'
    folder.mkdir()
    first = folder / '0.jpg'
    cv2.imwrite(str(first), noise(640, 480))
    for number in range(1, 10_000):
        os.link(first, folder / f'{number}.jpg')
    process = psutil.Process()
    held_mib: list[float] = []

    @contextmanager
    def look() -> Iterator[Callable[[Found], None]]:
        yield lambda found: held_mib.append(process.memory_info().rss / 2**20)

    predict = Predictor(write_tiny(tmp_path, 'onnx'), threads=2)
    out = tmp_path / 'found.json'
    count = predict_files(predict, [folder], None, [look(), json_writer(out)])
    assert count == len(held_mib) == len(json.loads(out.read_text())) == 10_000
    # All of these pictures would take 8789.
    assert max(held_mib[1000:]) - held_mib[1000] < 20
    print(f'{held_mib[1000]:.0f} MiB at the 1000th, {held_mib[-1]:.0f} at the end')
