"""Files that choose boxes and classes themselves, and files for several pictures."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from mmnv3.deploy.export import FORMATS, export_graph
from mmnv3.deploy.graph import build_graph
from mmnv3.deploy.results import Segmentation, finish
from mmnv3.deploy.runtime import PyTorchRuntime, Runtime, load_runtime
from mmnv3.errors import NotFiniteError, UserError
from tests.deploy.cases import (
    CASES,
    DETECTORS,
    blurred_noise,
    check_same_boxes,
    pairs,
)

# What the networks compute is tested on plain files in every format.
KINDS = [
    *pairs(('wide',), ('module', 'pytorch', 'onnx', 'openvino')),
    *pairs(('softmax',), ('module', 'onnx')),
    *pairs(('windows',), ('module', 'onnx', 'openvino', 'litert')),
    *pairs(('classifier',), ('module', 'onnx', 'litert')),
]


def load_batch(
    exported, case: str, kind: str, folder: Path, inside: bool = False
) -> Runtime:
    graph = build_graph(exported.model(case), CASES[case].size, 2, inside)
    shape = tuple(graph.example().shape)
    info = replace(exported.info(case, inside=inside), input_shape=shape)
    if kind == 'module':
        return PyTorchRuntime(graph, info, threads=1)
    path = folder / f'{case}{FORMATS[kind].suffixes[0]}'
    export_graph(graph, info, path, kind)
    return load_runtime(path, threads=1)


@pytest.mark.parametrize(('case', 'kind'), KINDS)
def test_results_are_those_of_the_plain_file(exported, case, kind) -> None:
    size = CASES[case].size
    x = blurred_noise(size).numpy()
    plain = exported.runtime(case, 'module')
    (expected,) = finish(plain(x), plain.info, [size])
    runtime = exported.runtime(case, kind, inside=True)
    (found,) = finish(runtime(x), runtime.info, [size])
    if isinstance(expected, Segmentation):
        assert found.mask.dtype == np.uint8 and len(np.unique(expected.mask)) > 2
        assert (found.mask == expected.mask).mean() >= 0.999
        return
    np.testing.assert_allclose(found.scores, expected.scores, atol=1e-4)
    if case not in DETECTORS:
        assert found.labels.tolist() == expected.labels.tolist()
        return
    assert len(expected.boxes) > 10
    check_same_boxes(found, expected)


@pytest.mark.parametrize('kind', ['module', 'onnx'])
def test_a_picture_of_nan_is_of_no_class(exported, tmp_path, kind) -> None:
    """Inside the graph, too, where argmax would choose some."""
    runtime = load_batch(exported, 'windows', kind, tmp_path, inside=True)
    x = blurred_noise(CASES['windows'].size).numpy().repeat(2, 0)
    x[1, 0, 5, 5] = np.nan
    found = runtime(x)['mask']
    assert found[0].min() >= 0 and (found[1] == -1).all()
    (whole,) = finish(dict(mask=found), runtime.info, [CASES['windows'].size])
    assert whole.mask.any()
    with pytest.raises(NotFiniteError, match='gives NaN for a picture'):
        finish(dict(mask=found), runtime.info, [CASES['windows'].size] * 2)


def test_litert_has_no_suppression(exported, tmp_path) -> None:
    graph = exported.graph('wide', inside=True)
    info = exported.info('wide', inside=True)
    with pytest.raises(UserError, match='LiteRT has no suppression'):
        export_graph(graph, info, tmp_path / 'a.tflite', 'litert')
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ('case', 'kind'),
    [
        *((case, 'module') for case in ('wide', 'windows', 'classifier')),
        ('wide', 'onnx'),
        ('windows', 'pytorch'),
    ],
)
def test_a_batch_is_its_pictures(exported, tmp_path, case, kind) -> None:
    runtime = load_batch(exported, case, kind, tmp_path)
    width, height = CASES[case].size
    assert runtime.info.input_shape == (2, 3, height, width)
    x = blurred_noise((width, height)).numpy()
    pictures = np.concatenate([x, x[..., ::-1]])
    found = runtime(pictures)
    single = exported.runtime(case, 'module')
    for index in range(2):
        expected = single(np.ascontiguousarray(pictures[index : index + 1]))
        for name, values in expected.items():
            scale = max(width, height) if name == 'boxes' else 1
            np.testing.assert_allclose(
                found[name][index], values[0], atol=1e-4 * scale, rtol=0
            )
    with pytest.raises(UserError, match=r'takes float32 of the shape \(2, 3'):
        runtime(x)


def test_several_pictures_are_not_suppressed_inside(exported) -> None:
    with pytest.raises(UserError, match='for 2 pictures a call cannot suppress'):
        build_graph(exported.model('wide'), CASES['wide'].size, 2, postprocess=True)


def test_a_segmenter_run_by_pytorch_takes_any_size(exported) -> None:
    graph = build_graph(exported.model('lraspp'), CASES['lraspp'].size)
    x = blurred_noise((96, 64))
    with torch.no_grad():
        assert graph(x).shape == (1, graph.num_classes, 64, 96)
