"""Training speed of models, with a batch at hand and with their data."""

import json
import logging
import resource
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from mmengine.logging import MMLogger

from mmnv3.benchmark.timed_model import Request
from mmnv3.benchmark.training import (
    _join,
    benchmark_training,
    build_trainings,
    config_training,
    count_kept_bytes,
    time_data,
    time_noise,
    torchvision_training,
    trains_faster_by_amp,
)
from mmnv3.datasets.demo import DemoSpec, write_demo_data
from mmnv3.engine.config import read_config
from mmnv3.engine.hooks.keep_memory_hook import KeepMemoryHook
from mmnv3.errors import UserError
from mmnv3.memory import keep_freed_memory
from mmnv3.size import Size
from tests.tools import fork

ROOT = Path(__file__).parents[2]
DETECTOR = str(ROOT / 'configs/ssdlite_mnv3_small_coco.py')
SEGMENTER = str(ROOT / 'tests/configs/lraspp_shallow_cityscapes.py')
CLASSIFIER = str(ROOT / 'tests/configs/classifier_shallow.py')
SSDLITE = 'torchvision:ssdlite320_mobilenet_v3_large'


@pytest.fixture(scope='module')
def config(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A shallow detector at 128 pixels on four pictures."""
    folder = tmp_path_factory.mktemp('speed')
    write_demo_data(folder / 'demo', DemoSpec(train=4, val=1, size=128))
    path = folder / 'tiny.py'
    path.write_text(f"""
_base_ = ['{ROOT}/tests/configs/ssdlite_shallow.py']
train_pipeline = [
    dict(type='mmnv3.LoadCheckedImage'),
    dict(type='LoadAnnotations', with_bbox=True),
    dict(type='Resize', scale=(128, 128), keep_ratio=False),
    dict(type='PackDetInputs'),
]
model = dict(bbox_head=dict(anchor_generator=dict(input_size=128)))
train_dataloader = dict(
    batch_size=2, num_workers=0, persistent_workers=False,
    dataset=dict(data_root='{folder}/demo/', pipeline=train_pipeline))
""")
    return str(path)


def fake(name: str, calls: list, batches: list | None) -> SimpleNamespace:
    class Loader:
        num_workers, prefetch_factor = 1, 2

        def __iter__(self) -> Iterator:
            return iter(batches)

    return SimpleNamespace(
        title=name,
        batch=1,
        noise=f'noise of {name}',
        step=lambda data: calls.append((name, data)),
        loader=None if batches is None else Loader,
    )


def test_models_take_turns() -> None:
    calls = []
    trainings = [fake('a', calls, None), fake('b', calls, None)]
    found = time_noise(trainings, runs=3, warm_up=1)
    assert calls == [('a', 'noise of a'), ('b', 'noise of b')] * 4
    assert [times.shape for times in found] == [(3,), (3,)]


def test_what_a_loader_has_ready_does_not_count() -> None:
    calls = []
    trainings = [
        fake('a', calls, [1, 2]),
        fake('b', calls, None),
        fake('c', calls, [3]),
    ]
    found, reasons = time_data(trainings, runs=4)
    # Two that are ready and one for the way, then two of four, and all that again.
    assert [name for name, _ in calls] == [*'aaaaaccccc'] * 2
    assert [data for name, data in calls if name == 'a'] == [1, 2] * 5
    assert found[0].shape == found[2].shape == (2,) and found[1] is None
    assert reasons == ['b: --size leaves its data pipeline out']


def test_a_config_beside_torchvision(
    config: str, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    path, plot = tmp_path / 'found.json', tmp_path / 'found.png'
    benchmark_training(
        [Request(config), Request(SSDLITE)], runs=2, json_path=path, plot_path=plot
    )
    ours, theirs = json.loads(path.read_text())['rows']
    assert ours['batch'] == theirs['batch'] == 2
    assert ours['input_size'] == theirs['input_size'] == [128, 128]
    for row in (ours, theirs):
        median = np.median(row['runs_seconds'])
        assert row['images_per_second'] == pytest.approx(2 / median)
        assert row['images_per_second_with_data'] > 0
    assert ours['speed_to_the_first'] == 1
    assert plot.read_bytes().startswith(b'\x89PNG')
    assert 'freed memory is kept' in capsys.readouterr().out


@pytest.mark.parametrize(
    ('model', 'name', 'size'),
    [
        (SEGMENTER, 'lraspp_mobilenet_v3_large', (64, 64)),
        (CLASSIFIER, 'mobilenet_v3_small', (32, 32)),
    ],
)
def test_other_tasks_train_on_noise(
    model: str, name: str, size: tuple[int, int]
) -> None:
    logger = MMLogger.get_current_instance()
    logger.setLevel('INFO')
    requests = [Request(model, size=size, batch=2), Request(f'torchvision:{name}')]
    training, other = build_trainings(requests)
    assert logger.level == logging.INFO
    assert training.size == size and len(training.noise['inputs']) == 2
    training.step(training.noise)
    other.step(training.noise)


def test_torchvision_has_a_row_in_bfloat16() -> None:
    training = config_training(Request(CLASSIFIER, size=(32, 32), batch=2))
    request = Request('torchvision:mobilenet_v3_small')
    other = torchvision_training(request, training, 'bf16')
    other.step(training.noise)
    assert other.title == 'torchvision:mobilenet_v3_small bf16'


def test_smaller_crops_are_filled_up() -> None:
    masks = [torch.ones(1, 2, 3), torch.ones(1, 3, 4)]
    joined = _join(masks, Size(4, 3), 255)
    assert joined.shape == (2, 1, 3, 4) and joined[1].eq(1).all()
    assert joined[0, 0].tolist() == [[1, 1, 1, 255], [1, 1, 1, 255], [255] * 4]


def test_torchvision_gets_the_same_pictures(config: str) -> None:
    training, other = build_trainings([Request(config), Request(SSDLITE)])
    boxes = training.noise['data_samples'][0].gt_instances.bboxes
    assert (boxes[:, 2:] > boxes[:, :2]).all() and boxes.max() <= 128
    assert other.noise is training.noise and other.classes == training.classes


def test_what_a_backward_pass_needs_by_hand() -> None:
    layers = torch.nn.Sequential(
        torch.nn.Linear(4, 8), torch.nn.Sigmoid(), torch.nn.Linear(8, 1)
    )
    training = SimpleNamespace(
        step=lambda x: layers(x).sum().backward(), noise=torch.ones(3, 4)
    )
    # The first layer's input, and the sigmoid's output, which the second has too.
    assert count_kept_bytes(training) == 4 * (3 * 4 + 3 * 8)


def test_a_row_for_each_precision(config: str, tmp_path: Path) -> None:
    path = tmp_path / 'found.json'
    rows = benchmark_training(
        [Request(config)],
        precisions=['fp32', 'bf16'],
        runs=1,
        json_path=path,
    )
    found = json.loads(path.read_text())['rows']
    assert [row['precision'] for row in found] == ['fp32', 'bf16']
    assert [row.training.title for row in rows] == ['tiny', 'tiny bf16']
    assert [row['model'] for row in found] == [config] * 2
    # Half of the bytes a number, but weights are kept in both formats.
    fp32, bf16 = (row['kept_bytes'] for row in found)
    assert 0.5 < bf16 / fp32 < 0.8


@pytest.mark.parametrize(
    ('capable', 'seconds', 'gains'),
    [(False, None, False), (True, (0.5, 0.4), True), (True, (0.4, 0.5), False)],
)
def test_mixed_precision_has_to_gain(
    capable: bool,
    seconds: tuple[float, float] | None,
    gains: bool,
    config: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    timed = []

    def time_them(trainings: list, runs: int) -> list[np.ndarray]:
        timed.extend(training.precision for training in trainings)
        return [np.full(runs, each) for each in seconds]

    monkeypatch.setattr('mmnv3.benchmark.training.get_device', lambda: 'cpu')
    for room in ('benchmark.training', 'engine.launch'):
        monkeypatch.setattr(f'mmnv3.{room}.has_bf16', lambda: capable)
    monkeypatch.setattr('mmnv3.benchmark.training.time_noise', time_them)
    given = read_config(config)
    text = given.pretty_text
    assert trains_faster_by_amp(given) is gains
    assert timed == (['fp32', 'bf16'] if capable else [])
    assert given.pretty_text == text
    given.launcher = 'pytorch'
    if capable:
        with pytest.raises(UserError, match='measures in one process'):
            trains_faster_by_amp(given)


def test_missing_data_is_told() -> None:
    training = config_training(Request(DETECTOR, batch=1))
    with pytest.raises(UserError, match=r'no training data \(.*instances_train2017'):
        training.loader()


def test_mistakes() -> None:
    with pytest.raises(UserError, match='name one before it'):
        benchmark_training([Request(SSDLITE)])
    with pytest.raises(UserError, match='for --backend pytorch'):
        benchmark_training([Request(DETECTOR)], ['openvino'])
    with pytest.raises(UserError, match='for --backend pytorch'):
        benchmark_training([Request(DETECTOR)], precisions=['fp32', 'int8'])
    with pytest.raises(UserError, match=r'another task than .*shallow'):
        build_trainings([Request(CLASSIFIER), Request(SSDLITE)])
    with pytest.raises(UserError, match='no use for --image'):
        benchmark_training([Request(DETECTOR, image='x.jpg')])


def test_the_hook_keeps_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    calls = []
    monkeypatch.setattr(
        'mmnv3.engine.hooks.keep_memory_hook.keep_freed_memory', lambda: calls.append(1)
    )
    runner = SimpleNamespace(model=torch.nn.Linear(1, 1))
    KeepMemoryHook().before_run(runner)
    assert calls == [1]
    runner.model.to('meta')
    KeepMemoryHook().before_run(runner)
    assert calls == [1]


def test_the_configs_have_the_hook() -> None:
    for name in (DETECTOR, SEGMENTER, CLASSIFIER):
        hooks = [hook['type'] for hook in read_config(name).custom_hooks]
        assert 'mmnv3.KeepMemoryHook' in hooks


def count_faults(path: Path) -> None:
    """Writes whether memory is kept, and the page faults without and with that."""

    def faults() -> int:
        before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
        for _ in range(3):
            torch.ones(10_000_000)
        return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before

    torch.set_num_threads(1)
    first = faults()
    kept = keep_freed_memory()
    faults()
    path.write_text(f'{int(kept)} {first} {faults()}')


def test_freed_memory_comes_back_without_page_faults(tmp_path: Path) -> None:
    fork(count_faults, tmp_path / 'found').join()
    kept, first, later = map(int, (tmp_path / 'found').read_text().split())
    if not kept:
        pytest.skip('there is no glibc here')
    assert later < 100 < first
    assert keep_freed_memory()
