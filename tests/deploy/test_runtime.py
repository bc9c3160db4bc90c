"""Every runtime computes what PyTorch does."""

import sys
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch

from mmnv3.deploy.export import FORMATS
from mmnv3.deploy.runtime import load_runtime
from mmnv3.errors import UserError
from tests.deploy.cases import (
    CASES,
    DETECTORS,
    SEGMENTERS,
    blurred_noise,
    normalised,
    pairs,
    suppressed,
)

KINDS = ('module', *FORMATS)


@pytest.mark.parametrize(('case', 'kind'), pairs(CASES, FORMATS))
def test_raw_outputs_are_equal(exported, case, kind) -> None:
    x = blurred_noise(CASES[case].size)
    with torch.no_grad():
        expected = exported.graph(case)(x)
    runtime = exported.runtime(case, kind)
    found = runtime(x.numpy())
    assert runtime.info == exported.info(case)
    assert tuple(found) == exported.graph(case).outputs
    if case in DETECTORS:
        expected, found = (
            # Boxes as fractions of the picture, scores as their logits.
            (boxes / max(CASES[case].size), np.log(scores))
            for boxes, scores in ([y.numpy() for y in expected], found.values())
        )
    else:
        expected, found = [expected.numpy()], found.values()
    for ours, theirs in zip(expected, found, strict=True):
        assert theirs.dtype == np.float32 and ours.shape == theirs.shape
        assert ours.std() > 0.1  # There is something to compare.
        np.testing.assert_allclose(theirs, ours, atol=1e-4, rtol=0)


@pytest.mark.parametrize('case', CASES)
def test_the_description_normalises_as_the_model(exported, case) -> None:
    picture = np.random.default_rng(0).integers(
        0, 256, (*CASES[case].size[::-1], 3), np.uint8
    )
    inputs = [torch.from_numpy(picture).permute(2, 0, 1)]
    expected = exported.model(case).data_preprocessor(dict(inputs=inputs))['inputs']
    found = normalised(picture, exported.info(case))
    np.testing.assert_allclose(found, expected.numpy(), atol=1e-6, rtol=1e-6)


@torch.no_grad()
@pytest.mark.parametrize(('case', 'kind'), pairs(DETECTORS, KINDS))
def test_detections_on_photos_are_those_of_the_head(
    exported, photos, case, kind
) -> None:
    runtime, model = exported.runtime(case, kind), exported.model(case)
    shape = CASES[case].size[::-1]
    meta = dict(img_shape=shape, batch_input_shape=shape)
    for photo in photos:
        x = normalised(photo, runtime.info)
        expected = model.bbox_head.predict_by_feat(
            *model.bbox_head(model.extract_feat(torch.from_numpy(x))),
            batch_img_metas=[meta],
            rescale=False,
        )[0]
        boxes, scores, labels = suppressed(runtime(x), runtime.info)
        assert len(boxes) == len(expected) == runtime.info.max_detections
        torch.testing.assert_close(scores, expected.scores, atol=1e-4, rtol=0)
        # What scores the same but for rounding may change places.
        apart = (boxes[:, None] - expected.bboxes).abs().amax(-1)
        apart[labels[:, None] != expected.labels] = torch.inf
        distances, partners = apart.min(dim=1)
        assert distances.max() < 0.01
        assert len(partners.unique()) == len(boxes)


@torch.no_grad()
@pytest.mark.parametrize(('case', 'kind'), pairs(SEGMENTERS, KINDS))
def test_masks_on_photos_agree(exported, photos, case, kind) -> None:
    runtime, model = exported.runtime(case, kind), exported.model(case)
    meta = dict(img_shape=CASES[case].size[::-1])
    classes = set()
    for photo in photos:
        x = normalised(photo, runtime.info)
        maps = model.decode_head(model.extract_feat(torch.from_numpy(x)))
        expected = model.decode_head.predict_by_feat(maps, [meta]).argmax(1).numpy()
        classes.update(np.unique(expected))
        assert (runtime(x)['logits'].argmax(1) == expected).mean() >= 0.999
    assert len(classes) > 2


@torch.no_grad()
@pytest.mark.parametrize('kind', KINDS)
def test_classes_of_photos_are_equal(exported, photos, kind) -> None:
    runtime, model = exported.runtime('classifier', kind), exported.model('classifier')
    batches = [normalised(photo, runtime.info) for photo in photos]
    expected = [model(torch.from_numpy(x), mode='tensor').argmax() for x in batches]
    assert len(set(map(int, expected))) > 1
    assert [runtime(x)['logits'].argmax() for x in batches] == expected


def test_the_number_of_threads_is_kept_apart(exported) -> None:
    before = torch.get_num_threads()
    seen = []
    module = exported.graph('classifier')
    handle = module.register_forward_hook(
        lambda *args: seen.append(torch.get_num_threads())
    )
    try:
        exported.runtime('classifier', 'module')(blurred_noise((224, 224)).numpy())
    finally:
        handle.remove()
    assert seen == [1] and torch.get_num_threads() == before
    settings = load_runtime(exported.file('wide', 'openvino'), threads=2)._request
    assert settings.get_compiled_model().get_property('INFERENCE_NUM_THREADS') == 2
    session = load_runtime(exported.file('wide', 'onnx'), threads=2)._session
    assert session.get_session_options().intra_op_num_threads == 2


@pytest.mark.parametrize('kind', KINDS)
def test_another_picture_than_the_file_is_for_is_refused(exported, kind) -> None:
    runtime = exported.runtime('wide', kind)
    for batch, got in (
        (np.zeros((1, 3, 193, 128), np.float32), 'float32 of (1, 3, 193, 128)'),
        (np.zeros((1, 3, 128, 193)), 'float64 of (1, 3, 128, 193)'),
    ):
        with pytest.raises(UserError) as error:
            runtime(batch)
        assert 'takes float32 of the shape (1, 3, 128, 193)' in str(error.value)
        assert got in str(error.value)


@pytest.mark.parametrize('ending', ['.pt2', '.onnx', '.xml'])
def test_damaged_and_missing_files_are_told(tmp_path: Path, ending) -> None:
    path = tmp_path / f'odd{ending}'
    with pytest.raises(UserError, match='there is no such file'):
        load_runtime(path)
    path.write_text('hello')
    with pytest.raises(UserError, match=r'odd.* cannot be read') as error:
        load_runtime(path)
    assert '\n' not in str(error.value)


def test_unknown_endings_and_strange_models_are_told(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r'ending; possible: \.pt2, \.onnx, \.xml'):
        load_runtime(tmp_path / 'a.pb')
    (tmp_path / 'text.tflite').write_text('hello')
    with pytest.raises(UserError, match='does not describe its model'):
        load_runtime(tmp_path / 'text.tflite')
    x, y = (
        onnx.helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, [1])
        for name in 'xy'
    )
    graph = onnx.helper.make_graph(
        [onnx.helper.make_node('Relu', ['x'], ['y'])], 'relu', [x], [y]
    )
    strange = onnx.helper.make_model(
        graph, ir_version=10, opset_imports=[onnx.helper.make_opsetid('', 20)]
    )
    onnx.save(strange, tmp_path / 'strange.onnx')
    with pytest.raises(UserError, match='does not describe its model'):
        load_runtime(tmp_path / 'strange.onnx')


@pytest.mark.parametrize(
    ('kind', 'package'), [('onnx', 'onnxruntime'), ('openvino', 'openvino')]
)
def test_a_missing_runtime_is_told(exported, monkeypatch, kind, package) -> None:
    path = exported.file('wide', kind)
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(UserError, match=f'^{package} is not installed; pip install'):
        load_runtime(path)


def test_a_missing_litert_is_told(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setitem(sys.modules, 'ai_edge_litert.interpreter', None)
    path = tmp_path / 'a.tflite'
    path.write_text('hello')
    with pytest.raises(UserError, match='ai-edge-litert is not installed'):
        load_runtime(path)
