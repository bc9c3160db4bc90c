"""Files that take pictures as they are, against the steps around plain ones."""

import re
import shutil
import subprocess
from collections.abc import Callable
from dataclasses import replace
from functools import cache, partial
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
import torch

from mmnv3.deploy.calibration import read_batches
from mmnv3.deploy.export import build_picture_graph, describe_graph, write_file
from mmnv3.deploy.graph import build_graph
from mmnv3.deploy.info import ModelInfo
from mmnv3.deploy.picture_graph import PictureGraph
from mmnv3.deploy.pipeline import Pipeline, file_input
from mmnv3.deploy.predictor import Predictor
from mmnv3.deploy.results import Detections, Result, Segmentation
from mmnv3.deploy.runtime import FORMATS, PyTorchRuntime, Runtime, load_runtime
from mmnv3.errors import UserError
from mmnv3.pictures import list_files, read_picture, write_picture
from mmnv3.resizing import CenterCrop, Pad, Resize, ResizeEdge
from mmnv3.size import Size
from mmnv3.tasks import CLASSIFICATION, DETECTION, SEGMENTATION
from tests.deploy.cases import CASES, check_same_boxes
from tests.deploy.tiny import INFO, NETWORKS, SIZE, TinySegmenter

ROOT = Path(__file__).parents[2]
COCO = next(
    (p for p in (ROOT / 'data/coco', ROOT / '../shared/data/coco') if p.is_dir()),
    ROOT / 'data/coco',
)
PICTURES = [(1, 1), (1, 60), (70, 2), (12, 16), (29, 41), (300, 211)]
# No picture of this is larger than the tiny networks' input.
SMALL = Resize(Size(SIZE.height, SIZE.height), keep_ratio=True)
# Padding is not undone in a mask.
STEPS = {
    DETECTION: (SMALL, Pad(SIZE)),
    SEGMENTATION: (Resize(SIZE, backend='tensorflow'),),
    CLASSIFICATION: (ResizeEdge(18), CenterCrop(SIZE)),
}
# An export takes seconds, and what differs between tasks is a few operations.
CASES_OF_FILES = [
    *((DETECTION, kind) for kind in ('module', 'pytorch', 'onnx', 'openvino')),
    *(
        (task, kind)
        for task in (SEGMENTATION, CLASSIFICATION)
        for kind in ('module', 'onnx')
    ),
    *(
        pytest.param(task, kind, marks=pytest.mark.slow)
        for task in (SEGMENTATION, CLASSIFICATION)
        for kind in ('pytorch', 'openvino')
    ),
]


def noise(shape: tuple[int, int]) -> np.ndarray:
    random = np.random.default_rng(shape[0])
    return random.integers(0, 256, (*shape, 3), dtype=np.uint8)


def describe(task: str) -> tuple[ModelInfo, ModelInfo]:
    """A tiny network outside of a file, and inside of one that takes pictures."""
    _, _, about = NETWORKS[task]
    outside = replace(INFO, task=task, steps=STEPS[task], **about)
    return outside, replace(outside, takes_pictures=True, postprocessed=True)


@pytest.fixture(scope='module')
def whole_file(tmp_path_factory) -> Callable[[str, str], Path]:
    """The file of a task's tiny network that takes pictures, in some format."""
    folder = tmp_path_factory.mktemp('files')

    @cache
    def write(task: str, kind: str) -> Path:
        path = folder / f'{task}{FORMATS[kind].suffixes[0]}'
        _, described = describe(task)
        write_file(PictureGraph(NETWORKS[task][1](), described), described, path, kind)
        return path

    return write


def check_equal(found: Result, expected: Result) -> None:
    if isinstance(expected, Segmentation):
        assert found.mask.shape == expected.mask.shape
        assert (found.mask == expected.mask).mean() >= 0.999
        return
    np.testing.assert_allclose(found.scores, expected.scores, atol=2e-5)
    if isinstance(expected, Detections):
        check_same_boxes(found, expected)
    else:
        assert found.labels.tolist() == expected.labels.tolist()


@pytest.mark.parametrize(('task', 'kind'), CASES_OF_FILES)
def test_results_are_those_of_the_plain_network(task, kind, whole_file) -> None:
    outer, inner, _ = NETWORKS[task]
    about, described = describe(task)
    plain = Pipeline(PyTorchRuntime(outer(), about, threads=1))
    runtime: Runtime
    if kind == 'module':
        graph = PictureGraph(inner(), described)
        runtime = PyTorchRuntime(graph, described, threads=1)
    else:
        runtime = load_runtime(whole_file(task, kind), threads=1)
    assert runtime.info == described
    whole, seen = Pipeline(runtime), 0
    for shape in PICTURES:
        picture = noise(shape)
        (expected,), (found,) = plain([picture]), whole([picture])
        check_equal(found, expected)
        seen += len(expected.boxes) if isinstance(expected, Detections) else 1
    assert seen > 3


def test_the_javascript_of_the_docs_finds_the_same(whole_file, tmp_path) -> None:
    file = whole_file(DETECTION, 'onnx')
    node, packages = shutil.which('node'), ('onnxruntime-node', 'sharp')
    needed = ''.join(f'require({name!r});' for name in packages)
    if not node or subprocess.run([node, '-e', needed], capture_output=True).returncode:
        pytest.skip(f'Node with {" and ".join(packages)} is not installed')
    page = (ROOT / 'docs/export.md').read_text('utf-8')
    script, picture = tmp_path / 'detect.cjs', tmp_path / 'a.png'
    (code,) = re.findall(r'```js\n(.*?)```', page, re.DOTALL)
    assert code.count('\n') <= 20
    script.write_text(code)
    write_picture(picture, noise((29, 41)))
    check_printed([node, script, file, picture], Predictor(file)(picture))


def check_printed(command: list, expected: Result) -> None:
    """A line of what a command prints is a label, a score and a box."""
    assert isinstance(expected, Detections)
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    found = np.array([line.split() for line in done.stdout.splitlines()], float)
    assert len(found) == len(expected.boxes) > 0
    np.testing.assert_array_equal(found[:, 0], expected.labels)
    np.testing.assert_allclose(found[:, 1], expected.scores, rtol=1e-5)
    np.testing.assert_allclose(found[:, 2:], expected.boxes, rtol=1e-4)


# What calls the function of the docs, with pixels of a file.
_CPP_MAIN = """
#include <fstream>
#include <iterator>
#include <string>

int main(int, char** argv) {
  std::ifstream file(argv[2], std::ios::binary);
  std::vector<uint8_t> rgb{std::istreambuf_iterator<char>(file), {}};
  detect(argv[1], rgb, std::stoll(argv[3]), std::stoll(argv[4]));
}
"""


def test_the_cpp_of_the_docs_finds_the_same(whole_file, tmp_path) -> None:
    """It is linked with the library that Python's package brings."""
    compiler = shutil.which('c++')
    library = next(
        Path(onnxruntime.__file__).parent.glob('capi/libonnxruntime.so*'), ''
    )
    flags = [compiler, '-std=c++17', '-Wall', '-Werror', '-I/usr/include/onnxruntime']
    source, program = tmp_path / 'detect.cpp', tmp_path / 'detect'
    source.write_text('#include <onnxruntime_cxx_api.h>')
    if not (compiler and library):
        pytest.skip(
            'there is no C++ compiler, or no library in the wheel of onnxruntime'
        )
    if subprocess.run([*flags, '-E', source], capture_output=True).returncode:
        pytest.skip('there is no onnxruntime_cxx_api.h; CPLUS_INCLUDE_PATH may name it')
    page = (ROOT / 'docs/export.md').read_text('utf-8')
    (code,) = re.findall(r'```cpp\n(.*?)```', page, re.DOTALL)
    source.write_text(code + _CPP_MAIN)
    # A program looks for the library by its name without a version's last parts.
    (tmp_path / 'libonnxruntime.so.1').symlink_to(library)
    linked = [library, f'-Wl,-rpath,{tmp_path}', '-o', program]
    made = subprocess.run([*flags, source, *linked], capture_output=True, text=True)
    assert made.returncode == 0, made.stderr
    file, picture, pixels = (
        whole_file(DETECTION, 'onnx'),
        noise((29, 41)),
        tmp_path / 'a',
    )
    pixels.write_bytes(picture[..., ::-1].tobytes())
    found = Predictor(file)(picture)
    check_printed([program, file, pixels, '29', '41'], found)


def test_sides_have_names(whole_file) -> None:
    graph = onnx.load(whole_file(SEGMENTATION, 'onnx')).graph
    for value in (graph.input[0], graph.output[0]):
        first, second = value.type.tensor_type.shape.dim[:2]
        assert (first.dim_param, second.dim_param) == ('height', 'width')


@pytest.mark.parametrize('order', ['rgb', 'bgr'])
@pytest.mark.parametrize('normalized', [False, True])
def test_padding_and_channels_are_in_the_descriptions_order(order, normalized) -> None:
    outer, inner, _ = NETWORKS[DETECTION]
    values = (7.0,) * 3 if normalized else (20.0, 120.5, 300.0)
    pad = Pad(SIZE, value=values, normalized=normalized)
    about = replace(
        INFO,
        channel_order=order,
        mean=(10.0, 20.0, 30.0),
        std=(3.0, 4.0, 5.0),
        steps=(SMALL, pad),
    )
    graph = PictureGraph(inner(), replace(about, takes_pictures=True))
    picture = noise((31, 20))
    image = torch.from_numpy(np.ascontiguousarray(picture[..., ::-1]))
    found = graph._prepared(image, *graph.steps.sides(image))
    expected = Pipeline(PyTorchRuntime(outer(), about)).prepare(picture)
    np.testing.assert_array_equal(found.numpy(), expected)


def test_a_mask_of_logits_of_nan_says_so() -> None:
    _, described = describe(SEGMENTATION)
    graph = PictureGraph(TinySegmenter(), described)
    graph.network.conv.weight[0, 0, 0, 0] = torch.nan
    assert (graph(torch.zeros(5, 7, 3, dtype=torch.uint8)) == -1).all()


@pytest.mark.parametrize('case', ['wide', 'windows', 'classifier'])
def test_networks_find_in_photos_what_they_do_outside(exported, photos, case) -> None:
    graph, info = build_picture_graph(exported.model(case), Size(*CASES[case].size))
    whole = Pipeline(PyTorchRuntime(graph, info, threads=1))
    plain = Pipeline(exported.runtime(case, 'module'))
    for picture in (photos[0], photos[1][:, :200]):
        (expected,), (found,) = plain([picture]), whole([picture])
        check_equal(found, expected)


def test_what_cannot_be_done_is_refused() -> None:
    _, described = describe(SEGMENTATION)
    padded = replace(described, steps=(SMALL, Pad(SIZE)))
    with pytest.raises(UserError, match='pads pictures, which a file does not undo'):
        PictureGraph(TinySegmenter(), padded)
    with pytest.raises(UserError, match='takes one a call, not 2; leave the batch'):
        build_picture_graph(None, SIZE, batch=2)


def test_calibration_pictures_go_in_as_they_are(tmp_path) -> None:
    for index in range(8):
        write_picture(tmp_path / f'{index}.png', noise((30 + index, 20)))
    write_picture(tmp_path / '9.png', noise((20, 2048)))
    _, described = describe(DETECTION)
    batches = read_batches(tmp_path, described)
    assert sorted(batch.shape for batch in batches)[0] == (10, 1024, 3)
    np.testing.assert_array_equal(
        next(b for b in batches if len(b) == 30), noise((30, 20))[..., ::-1]
    )


def _file_inputs(pictures: list[np.ndarray], info: ModelInfo) -> list[np.ndarray]:
    return [file_input(picture, info) for picture in pictures]


@pytest.mark.parametrize(
    'kind', ['onnx', pytest.param('openvino', marks=pytest.mark.slow)]
)
def test_eight_bits_are_those_of_the_plain_network(kind, tmp_path) -> None:
    """Calibrated on the same pictures, by the quantiser that sees more around it."""
    if kind == 'openvino':
        pytest.importorskip('nncf', reason='nncf is not installed')
    _, inner, _ = NETWORKS[DETECTION]
    _, described = describe(DETECTION)
    plain = replace(described, takes_pictures=False)
    pictures = [noise((20 + index, 31)) for index in range(4)]
    found = []
    for graph, info in (
        (PictureGraph(inner(), described), described),
        (inner(), plain),
    ):
        path = tmp_path / f'{info.takes_pictures}{FORMATS[kind].suffixes[0]}'
        prepare = partial(_file_inputs, pictures, info)
        write_file(graph, info, path, kind, 'int8', prepare)
        found.append(Pipeline(load_runtime(path, threads=1))(pictures))
    for whole, outside in zip(*found, strict=True):
        assert len(outside.boxes)
        check_equal(whole, outside)


@pytest.mark.slow
def test_fifty_photos_of_coco(exported, tmp_path) -> None:
    """Exporting a whole detector takes half a minute."""
    if not COCO.is_dir():
        pytest.skip('data/coco is absent')
    model, size = exported.model('sigmoid'), Size(*CASES['sigmoid'].size)
    path = tmp_path / 'a.onnx'
    write_file(*build_picture_graph(model, size), path, 'onnx')
    predict = Predictor(path, threads=1)
    graph = build_graph(model, size)
    plain = Pipeline(PyTorchRuntime(graph, describe_graph(graph, model), threads=1))
    files = list_files(COCO / 'val2017')[:50]
    shapes = set()
    for file in files:
        picture = read_picture(file)
        shapes.add(picture.shape)
        (expected,) = plain([picture])
        check_equal(predict(file), expected)
    assert len(files) == 50 and len(shapes) > 10
