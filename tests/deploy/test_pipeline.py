"""From pictures to results as the config's own toolbox goes."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from mmengine.config import Config
from mmengine.dataset import Compose, pseudo_collate
from mmengine.registry import DefaultScope
from torch import nn

from mmnv3.deploy import export
from mmnv3.deploy.export import describe_graph, export_config, export_graph
from mmnv3.deploy.graph import build_graph
from mmnv3.deploy.info import ModelInfo
from mmnv3.deploy.pipeline import Pipeline
from mmnv3.deploy.predictor import Predictor
from mmnv3.deploy.results import Segmentation
from mmnv3.deploy.runtime import FORMATS, PyTorchRuntime, load_runtime
from mmnv3.engine.build import build_model
from mmnv3.engine.config import input_size, picture_pipeline
from mmnv3.errors import UserError
from mmnv3.resizing import CenterCrop, Resize, ResizeEdge
from mmnv3.size import Size
from tests.deploy.cases import CASES as SHARED_CASES
from tests.deploy.cases import Case, random_model
from tests.deploy.test_predictor import assert_same_detections, noise
from tests.deploy.tiny import INFO, TinyGraph

DETECTOR = 'tests/configs/ssdlite_shallow.py'
SEGMENTER = 'tests/configs/lraspp_shallow.py'
CLASSIFIER = 'tests/configs/classifier_shallow.py'
LOAD = dict(type='mmnv3.LoadCheckedImage')
# Four windows of a picture of 300x200, two of 240x160.
SLIDE = dict(mode='slide', crop_size=(160, 200), stride=(107, 133))


def detector(*steps: dict, size: int | tuple = 192) -> Case:
    pack = dict(
        type='PackDetInputs', meta_keys=('ori_shape', 'img_shape', 'scale_factor')
    )
    options = {
        'test_dataloader.dataset.pipeline': [LOAD, *steps, pack],
        'model.bbox_head.anchor_generator.input_size': size,
        'model.bbox_head.prior_prob': 0.2,
    }
    return Case(DETECTOR, Size.of(size), options)


def segmenter(*steps: dict, size: tuple = (193, 129), **settings) -> Case:
    pipeline = [LOAD, *steps, dict(type='PackSegInputs')]
    options = {'test_dataloader.dataset.pipeline': pipeline}
    options.update({f'model.{key}': value for key, value in settings.items()})
    return Case(SEGMENTER, size, options)


def classifier(*steps: dict) -> Case:
    pipeline = [LOAD, *steps, dict(type='PackInputs')]
    return Case(CLASSIFIER, (224, 224), {'test_dataloader.dataset.pipeline': pipeline})


def keep_ratio(*scale: int, **how: str) -> dict:
    return dict(type='Resize', scale=scale, keep_ratio=True, **how)


PAD = dict(type='Pad', size=(192, 192), pad_val=dict(img=(114, 60, 7)))
CASES = {
    'stretched': detector(dict(type='Resize', scale=(192, 192))),
    'letterbox': detector(keep_ratio(192, 192), PAD),
    'nearest': detector(keep_ratio(192, 192, interpolation='nearest'), PAD),
    'square': detector(
        keep_ratio(192, 192, backend='pillow', interpolation='bicubic'),
        dict(type='Pad', pad_to_square=True, pad_val=9),
    ),
    'own size': segmenter(),
    'kept ratio': segmenter(keep_ratio(256, 160), size=(240, 160)),
    'padded': segmenter(
        size=(320, 224),
        **{'data_preprocessor.test_cfg': dict(size=(224, 320)),
           'data_preprocessor.pad_val': 0.5},
    ),
    'divisor': segmenter(
        keep_ratio(256, 160), size=(256, 160),
        **{'data_preprocessor.test_cfg': dict(size_divisor=32)},
    ),
    'windows': segmenter(test_cfg=SLIDE),
    'one channel': segmenter(
        **{'decode_head.num_classes': 2, 'decode_head.out_channels': 1,
           'decode_head.threshold': 0.6},
    ),
    'one channel in windows': segmenter(
        keep_ratio(256, 160), test_cfg=SLIDE, size=(240, 160),
        **{'decode_head.num_classes': 2, 'decode_head.out_channels': 1,
           'decode_head.threshold': 0.35},
    ),
    'pillow': classifier(
        dict(type='ResizeEdge', scale=236, backend='pillow', interpolation='bicubic'),
        dict(type='CenterCrop', crop_size=224),
    ),
}  # fmt: skip
DETECTORS = ('stretched', 'letterbox', 'nearest', 'square')
SEGMENTERS = (
    'own size', 'kept ratio', 'padded', 'divisor', 'windows', 'one channel',
    'one channel in windows',
)  # fmt: skip


@pytest.fixture(scope='module')
def models():
    made: dict[str, nn.Module] = {}

    def of(name: str) -> nn.Module:
        if name not in made:
            made[name] = random_model(CASES[name])
        return made[name]

    return of


@pytest.fixture(scope='module')
def photo(tmp_path_factory) -> Path:
    """A picture of 300x200 in a file, as the toolboxes' pipelines start from."""
    path = tmp_path_factory.mktemp('photo') / 'a.png'
    cv2.imwrite(str(path), noise(300, 200))
    return path


def toolbox_data(model: nn.Module, path: Path) -> dict:
    """What the config's own test pipeline makes of a file."""
    scope = model.cfg.default_scope
    with DefaultScope.overwrite_default_scope(scope):
        __import__(f'{scope}.datasets.transforms')
        transforms = Compose([dict(step) for step in picture_pipeline(model.cfg)])
        return pseudo_collate([transforms(dict(img_path=str(path)))])


def own_pipeline(model: nn.Module, size: tuple[int, int], any_size: bool) -> Pipeline:
    graph = build_graph(model, size)
    runtime = PyTorchRuntime(graph, describe_graph(graph, model), any_size=any_size)
    return Pipeline(runtime, keeps_size=any_size)


@pytest.mark.parametrize('case', CASES)
def test_prepared_pictures_are_the_toolboxes_to_the_pixel(models, photo, case) -> None:
    model = models(case)
    expected = model.data_preprocessor(toolbox_data(model, photo))['inputs'].numpy()
    pipeline = own_pipeline(model, CASES[case].size, case in SEGMENTERS)
    for _ in range(2):  # The second time into a buffer that is full.
        found = pipeline.prepare(
            cv2.imread(str(photo)), out=np.full_like(expected, np.nan)
        )
        np.testing.assert_array_equal(found, expected)


@torch.no_grad()
@pytest.mark.parametrize('case', CASES)
def test_results_are_the_toolboxes(models, photo, case) -> None:
    model = models(case)
    (expected,) = model.test_step(toolbox_data(model, photo))
    pipeline = own_pipeline(model, CASES[case].size, case in SEGMENTERS)
    (found,) = pipeline([cv2.imread(str(photo))])
    if case in DETECTORS:
        assert_same_detections(found, expected.pred_instances)
    elif case in SEGMENTERS:
        mask = expected.pred_sem_seg.data[0].numpy()
        assert found.mask.shape == mask.shape == (200, 300)
        assert (found.mask == mask).mean() > 0.9999
        assert len(np.unique(mask)) > 1
    else:
        scores = expected.pred_score[found.labels].numpy()
        np.testing.assert_allclose(found.scores, scores, atol=1e-6)


@torch.no_grad()
@pytest.mark.parametrize(
    ('case', 'kind', 'inside'),
    [
        ('one channel', 'pytorch', True),
        ('one channel in windows', 'onnx', False),
    ],
)
def test_exported_masks_are_the_toolboxes(
    models, photo, tmp_path, case, kind, inside
) -> None:
    model = models(case)
    size = (240, 160) if case == 'one channel in windows' else (300, 200)
    checkpoint = tmp_path / 'a.pth'
    torch.save(dict(state_dict=model.state_dict()), checkpoint)
    file = tmp_path / f'a{FORMATS[kind].suffixes[0]}'
    export_config(model.cfg, str(checkpoint), file, kind, size, postprocess=inside)
    found = Predictor(file)(photo)
    (expected,) = model.test_step(toolbox_data(model, photo))
    mask = expected.pred_sem_seg.data[0].numpy()
    assert found.mask.shape == mask.shape and (found.mask == mask).mean() > 0.999
    assert 0.05 < mask.mean()


def test_a_config_is_read_once(exported, tmp_path, monkeypatch, photo) -> None:
    checkpoint = tmp_path / 'a.pth'
    torch.save(dict(state_dict=exported.model('wide').state_dict()), checkpoint)
    monkeypatch.setenv('XDG_CACHE_HOME', str(tmp_path))
    monkeypatch.setattr(export, 'export_graph', exported.export)
    read, loaded = [], []

    def counting(calls: list, function: Callable) -> Callable:
        return lambda *args, **kwargs: calls.append(args) or function(*args, **kwargs)

    monkeypatch.setattr(Config, 'fromfile', counting(read, Config.fromfile))
    monkeypatch.setattr(torch, 'load', counting(loaded, torch.load))
    config, options = SHARED_CASES['wide'].config, SHARED_CASES['wide'].options
    for backend in ('pytorch', 'onnxruntime'):
        Predictor(config, checkpoint, backend, options=options)(photo)
        assert (len(read), len(loaded)) == (1, 1)
        read.clear(), loaded.clear()
    file = tmp_path / 'a.onnx'
    export_config(config, str(checkpoint), file, 'onnx', options=options)
    assert (len(read), len(loaded)) == (1, 1)


def test_pictures_of_another_shape_are_refused_where_they_would_be_stretched(
    models,
) -> None:
    pipeline = own_pipeline(models('kept ratio'), (240, 160), any_size=False)
    assert isinstance(pipeline([noise(300, 200)])[0], Segmentation)
    with pytest.raises(UserError, match=r'of 400x200 becomes 256x128 .* takes 240x160'):
        pipeline([noise(400, 200)])


def test_steps_that_give_a_detector_several_sizes_are_refused() -> None:
    case = detector(keep_ratio(192, 192))
    model = build_model(case.config, case.options)
    assert input_size(model.cfg) == (192, 192)
    graph = build_graph(model, (192, 192))
    with pytest.raises(UserError, match='different sizes, and a detector takes one'):
        describe_graph(graph, model)


OLD = dict(
    task='"classification"',
    classes='["a", "b"]',
    input_shape='[1, 3, 8, 12]',
    mean='[1, 2, 3]',
    std='[4, 5, 6]',
    channel_order='"rgb"',
    resize_edge='20',
    palette='[]',
    precision='"fp32"',
    postprocessed='false',
    score_threshold='null',
    iou_threshold='null',
    max_detections='null',
    max_per_class='null',
)


def test_descriptions_of_version_0_1_are_read() -> None:
    info = ModelInfo.from_strings(OLD, 'a.onnx')
    assert info.steps == (ResizeEdge(20), CenterCrop(Size(12, 8)))
    assert info.align_corners is info.mask_threshold is None
    plain = ModelInfo.from_strings({**OLD, 'resize_edge': 'null'}, 'a.onnx')
    assert plain.steps == () and plain.is_stretched((20, 20))
    # And 0.1 finds all it wants in ours.
    for described in (info, plain):
        assert OLD.keys() <= described.to_strings().keys()
    assert info.to_strings()['resize_edge'] == '20'


@pytest.mark.parametrize('kind', ['onnx', 'openvino', 'pytorch'])
def test_steps_travel_with_the_file(models, tmp_path, kind) -> None:
    model = models('letterbox')
    info = describe_graph(build_graph(model, (192, 192)), model)
    file = tmp_path / f'a{FORMATS[kind].suffixes[0]}'
    # What else there is in the file does not matter.
    info = replace(INFO, steps=info.steps)
    export_graph(TinyGraph(), info, file, kind)
    assert load_runtime(file).info == info
    assert info.steps[0] == Resize(Size(192, 192), keep_ratio=True)
    with pytest.raises(UserError, match='is no step; possible: Resize'):
        strings = info.to_strings()
        ModelInfo.from_strings({**strings, 'steps': '[{"type": "Warp"}]'}, 'a')
    assert replace(info, steps=()) != info
