"""What LiteRT's files say in TensorFlow's form, read by those who published readers.

LiteRT's own packages bring none, so that a venv needs ``pip install --no-deps mediapipe
tflite-support`` beside the extra ``litert``.
"""

import json
import zipfile
from collections.abc import Callable
from dataclasses import replace
from functools import cache
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
from torch import nn

from mmnv3.deploy.export import export_config, write_file
from mmnv3.deploy.info import EXTRA_FILE, PLAIN, ModelInfo
from mmnv3.deploy.pipeline import Pipeline, file_input
from mmnv3.deploy.results import Classification, Detections
from mmnv3.deploy.runtime import LiteRTRuntime, PyTorchRuntime, load_runtime
from mmnv3.deploy.tflite_metadata import LABELS_FILE, write_tflite
from mmnv3.errors import UserError
from mmnv3.resizing import Pad, Resize, has_whole_pixels
from mmnv3.tasks import CLASSIFICATION, DETECTION, SEGMENTATION
from tests.deploy.cases import check_same_boxes, skip_without
from tests.deploy.tiny import (
    INFO,
    NETWORKS,
    SIZE,
    TinyClassifier,
    TinyGraph,
    TinySegmenter,
)

tools = pytest.importorskip(
    'ai_edge_litert.tools.flatbuffer_utils', reason='ai-edge-litert is not installed'
)
schema = pytest.importorskip('ai_edge_litert.schema_py_generated')

SHALLOW = 'tests/configs/ssdlite_shallow.py'


class SegmentationGraph(TinySegmenter):
    """Quantisers find what is of a network by such a name."""


class ClassificationGraph(TinyClassifier):
    """The same."""


GRAPHS: dict[str, type[nn.Module]] = {
    DETECTION: TinyGraph,
    SEGMENTATION: SegmentationGraph,
    CLASSIFICATION: ClassificationGraph,
}


def describe(task: str, pixels: bool, **changed: object) -> ModelInfo:
    _, _, about = NETWORKS[task]
    about = {'steps': (Resize(SIZE),), **about, **changed}
    return replace(INFO, task=task, takes_pixels=pixels, **about)


@pytest.fixture(scope='module')
def written(tmp_path_factory) -> Callable[..., Path]:
    """The file of a task's tiny network, which takes pixels or what they become."""
    folder = tmp_path_factory.mktemp('files')

    @cache
    def write(task: str, pixels: bool, precision: str = 'fp32', **changed) -> Path:
        skip_without('litert')
        info = describe(task, pixels, **changed)
        path = folder / f'{len(list(folder.iterdir()))}.tflite'
        batches = [file_input(noise(seed), info) for seed in range(8)]
        network = GRAPHS[task]()
        write_file(network, info, path, 'litert', precision, lambda: batches)
        return path

    return write


def noise(seed: int) -> np.ndarray:
    random = np.random.default_rng(seed)
    return random.integers(0, 256, (29, 41, 3), dtype=np.uint8)


@pytest.mark.parametrize(
    ('task', 'order'),
    [(DETECTION, 'bgr'), *((task, 'rgb') for task in GRAPHS)],
)
def test_pixels_are_normalised_inside(written, task, order) -> None:
    about = dict(channel_order=order, mean=(10.0, 20.0, 30.0), std=(3.0, 4.0, 50.0))
    runtime = load_runtime(written(task, True, **about), threads=1)
    assert runtime.info == describe(task, True, **about)
    plain = describe(task, False, **about)
    outside = Pipeline(PyTorchRuntime(GRAPHS[task](), plain, threads=1))
    inside = Pipeline(runtime)
    batch = inside.prepare(noise(0))
    assert batch.shape == (1, SIZE.height, SIZE.width, 3) and batch.dtype == np.uint8
    expected = outside.run(outside.prepare(noise(0)))
    for name, values in inside.run(batch).items():
        np.testing.assert_allclose(values, expected[name], atol=1e-4)
    (found,), (wanted,) = inside([noise(1)]), outside([noise(1)])
    if isinstance(wanted, Detections):
        check_same_boxes(found, wanted)
    with pytest.raises(UserError, match=r'takes uint8 of the shape \(1, 12, 16, 3\)'):
        runtime(outside.prepare(noise(0)))


def reader() -> ModuleType:
    return pytest.importorskip(
        'tensorflow_lite_support.metadata.python.metadata',
        reason='tflite-support is not installed, or not what it needs (libusb)',
        exc_type=ImportError,
    )


@pytest.mark.parametrize(
    ('task', 'precision'),
    [(DETECTION, 'fp16'), (DETECTION, 'int8'), *((task, 'fp32') for task in GRAPHS)],
)
def test_tensorflows_reader_finds_names_and_scales(written, task, precision) -> None:
    about = dict(mean=(1.0, 2.0, 3.0), std=(4.0, 5.0, 50.0))
    path = written(task, False, precision, **about)
    shown = reader().MetadataDisplayer.with_model_file(str(path))
    assert set(shown.get_packed_associated_file_list()) == {LABELS_FILE, EXTRA_FILE}
    assert shown.get_associated_file_buffer(LABELS_FILE) == b'dot\ndash'
    (graph,) = json.loads(shown.get_metadata_json())['subgraph_metadata']
    (given,) = graph['input_tensor_metadata']
    assert given['name'] == 'image'
    assert given['content']['content_properties'] == {
        'color_space': 'RGB',
        'default_size': {'width': 16, 'height': 12},
    }
    (unit,) = given['process_units']
    scales = {'mean': [1.0, 2.0, 3.0], 'std': [4.0, 5.0, 50.0]}
    assert unit == {'options_type': 'NormalizationOptions', 'options': scales}
    np.testing.assert_allclose(given['stats']['min'], [-1 / 4, -2 / 5, -3 / 50])
    np.testing.assert_allclose(given['stats']['max'], [63.5, 50.6, 5.04])
    runtime = load_runtime(path, threads=1)
    assert runtime.info == describe(task, False, **about, precision=precision)
    assert isinstance(runtime, LiteRTRuntime)
    # In the order that the interpreter has them, which need not be ours.
    tensors = graph['output_tensor_metadata']
    shapes = [tuple(d['shape']) for d in runtime._interpreter.get_output_details()]
    batch = Pipeline(runtime).prepare(noise(0))
    outputs = runtime(batch)
    assert [outputs[each['name']].shape for each in tensors] == shapes
    labels = [each['associated_files'] for each in tensors if len(each) > 2]
    assert labels == [[{'name': 'labels.txt', 'type': 'TENSOR_AXIS_LABELS'}]]


def test_pixels_are_all_that_is_told_of_them(written) -> None:
    path = str(written(SEGMENTATION, True))
    shown = reader().MetadataDisplayer.with_model_file(path)
    (graph,) = json.loads(shown.get_metadata_json())['subgraph_metadata']
    (given,) = graph['input_tensor_metadata']
    # Nothing is left to be scaled.
    assert 'process_units' not in given and given['stats'] == {'max': [255], 'min': [0]}


@pytest.mark.parametrize('precision', ['fp32', 'int8'])
def test_mediapipe_segments_as_the_predictor(written, precision) -> None:
    mediapipe, tasks = _mediapipe()
    path = written(SEGMENTATION, True, precision)
    options = tasks.vision.ImageSegmenterOptions(
        base_options=tasks.BaseOptions(model_asset_path=str(path)),
        output_category_mask=True,
    )
    ours = Pipeline(load_runtime(path, threads=1))
    seen = set()
    with tasks.vision.ImageSegmenter.create_from_options(options) as segmenter:
        assert segmenter.labels == ['dot', 'dash']
        for seed in range(3):
            image = file_input(noise(seed), ours.info)[0]
            found = segmenter.segment(_image(mediapipe, image))
            (expected,) = ours([np.ascontiguousarray(image[..., ::-1])])
            mask = found.category_mask.numpy_view().reshape(expected.mask.shape)
            np.testing.assert_array_equal(mask, expected.mask)
            seen |= set(mask.ravel())
            # They are probabilities, since the file says that softmax makes them.
            total = sum(each.numpy_view() for each in found.confidence_masks)
            np.testing.assert_allclose(total, 1, atol=1e-5)
    assert seen == {0, 1}


def test_mediapipe_classifies_photos_as_the_predictor(
    exported, tmp_path, photos
) -> None:
    mediapipe, tasks = _mediapipe()
    skip_without('litert')
    path = tmp_path / 'a.tflite'
    about = exported.info('classifier', inside=True)
    graph = exported.graph('classifier', inside=True)
    write_file(graph, replace(about, takes_pixels=True), path, 'litert')
    ours, plain = Pipeline(load_runtime(path)), exported.runtime('classifier', 'module')
    options = tasks.vision.ImageClassifierOptions(
        base_options=tasks.BaseOptions(model_asset_path=str(path)), max_results=5
    )
    best = set()
    with tasks.vision.ImageClassifier.create_from_options(options) as classifier:
        for photo in photos:
            image = file_input(photo, ours.info)[0]
            (found,) = classifier.classify(_image(mediapipe, image)).classifications
            scores = [each.score for each in found.categories]
            names = [each.category_name for each in found.categories]
            for (expected,) in (ours([photo]), Pipeline(plain)([photo])):
                assert isinstance(expected, Classification)
                np.testing.assert_allclose(scores, expected.scores, atol=1e-5)
                assert names == [expected.classes[label] for label in expected.labels]
            best.add(names[0])
    assert len(best) > 1


def _mediapipe() -> tuple[ModuleType, ModuleType]:
    mediapipe = pytest.importorskip('mediapipe', reason='there is no mediapipe')
    return mediapipe, pytest.importorskip('mediapipe.tasks.python')


def _image(mediapipe: ModuleType, pixels: np.ndarray) -> object:
    return mediapipe.Image(
        image_format=mediapipe.ImageFormat.SRGB, data=np.ascontiguousarray(pixels)
    )


def test_a_config_is_exported_for_pixels(tmp_path) -> None:
    skip_without('litert')
    path = tmp_path / 'a.tflite'
    info = export_config(SHALLOW, None, path, 'litert', preprocess=True)
    assert info.takes_pixels and info.task == DETECTION and not info.takes_pictures
    assert load_runtime(path, threads=1).info == info


def test_what_is_no_whole_pixel_is_refused(tmp_path) -> None:
    config = 'configs/ssdlite_mnv3_large_coco_google.py'
    with pytest.raises(UserError, match='LiteRT takes pixels of 8 bits; leave prep'):
        export_config(config, None, tmp_path / 'a.tflite', 'litert', preprocess=True)
    padded = replace(INFO, steps=(Resize(SIZE), Pad(SIZE, normalized=True)))
    assert has_whole_pixels(INFO.steps) and not has_whole_pixels(padded.steps)


def absolute(shape: tuple[int, ...]) -> bytes:
    """A model of one operation, made by hand, without what converts from PyTorch."""

    def tensor(name: str) -> object:
        made = schema.TensorT()
        made.name, made.shape = name, shape
        return made

    def named(name: str, index: int) -> object:
        made = schema.TensorMapT()
        made.name, made.tensorIndex = name, index
        return made

    operator, code = schema.OperatorT(), schema.OperatorCodeT()
    operator.inputs, operator.outputs = [0], [1]
    code.builtinCode = code.deprecatedBuiltinCode = schema.BuiltinOperator.ABS
    graph = schema.SubGraphT()
    graph.tensors, graph.operators = [tensor('image'), tensor('logits')], [operator]
    graph.inputs, graph.outputs = [0], [1]
    signature = schema.SignatureDefT()
    signature.signatureKey, signature.subgraphIndex = 'serving_default', 0
    signature.inputs, signature.outputs = [named('image', 0)], [named('logits', 1)]
    model = schema.ModelT()
    model.version, model.buffers, model.operatorCodes = 3, [schema.BufferT()], [code]
    model.subgraphs, model.signatureDefs = [graph], [signature]
    return bytes(tools.convert_object_to_bytearray(model))


def test_a_model_runs_with_what_describes_it(tmp_path) -> None:
    info = describe(SEGMENTATION, False, classes=('dot', 'big\ndash', 'é'), palette=())
    path, again = tmp_path / 'a.tflite', tmp_path / 'b.tflite'
    model = absolute(info.input_shape)
    write_tflite(model, info, path)
    runtime = load_runtime(path, threads=1)
    assert runtime.info == info
    x = np.random.default_rng(0).standard_normal(info.input_shape).astype(np.float32)
    np.testing.assert_array_equal(runtime(x)['logits'], np.abs(x))
    with zipfile.ZipFile(path) as archive:
        assert archive.read(LABELS_FILE).decode() == 'dot\nbig dash\né'
        assert {each.compress_type for each in archive.infolist()} == {0}
    # Described twice it still is described once.
    write_tflite(path.read_bytes(), info, again)
    (entry,) = tools.read_model(str(again)).metadata
    buffer = tools.read_model(str(again)).buffers[entry.buffer]
    assert entry.name == b'TFLITE_METADATA'
    assert bytes(buffer.data)[4:8] == b'M001'


def test_files_of_before_still_load(tmp_path) -> None:
    info = describe(CLASSIFICATION, False, input_shape=(1, 3, 12, 16))
    strings = {k: v for k, v in info.to_strings().items() if k != 'takes_pixels'}
    path = tmp_path / 'a.tflite'
    path.write_bytes(absolute(info.input_shape))
    with zipfile.ZipFile(path, 'a') as archive:
        archive.writestr(EXTRA_FILE, json.dumps(strings))
    assert load_runtime(path, threads=1).info == info


def test_what_says_nothing_of_pictures_has_no_metadata(tmp_path) -> None:
    info = replace(INFO, task=PLAIN, classes=(), palette=(), mean=(), std=())
    path = tmp_path / 'a.tflite'
    write_tflite(absolute(info.input_shape), info, path)
    assert load_runtime(path, threads=1).info.task == PLAIN
    with zipfile.ZipFile(path) as archive:
        assert archive.namelist() == [EXTRA_FILE]
