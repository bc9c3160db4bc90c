"""The stand-in for mmcv's compiled operators."""

import importlib.util

import numpy as np
import pytest
import torch
from mmcv.ops import batched_nms, nms, roi_align_rotated, soft_nms
from mmcv.utils.env import collect_env
from mmcv.utils.ext_loader import check_ops_exist
from mmengine.utils.dl_utils import mmcv_full_available

DEVICES = [
    'cpu',
    pytest.param(
        'cuda',
        marks=pytest.mark.skipif(not torch.cuda.is_available(), reason='no GPU'),
    ),
]


def some_boxes(count: int, seed: int = 0) -> tuple[torch.Tensor, torch.Tensor]:
    """Boxes crowded on 100 x 100 pixels, with distinct scores in random order."""
    random = torch.Generator().manual_seed(seed)
    corner = torch.rand(count, 2, generator=random) * 70
    size = torch.rand(count, 2, generator=random) * 30
    scores = (torch.randperm(count, generator=random) + 1.0) / (count + 1)
    return torch.cat([corner, corner + size], dim=1), scores


def reference_nms(boxes, scores, threshold: float, offset: int) -> list[int]:
    """NMS by its definition, in float64."""
    boxes = boxes.double().numpy()
    x1, y1, x2, y2 = boxes.T
    areas = (x2 - x1 + offset) * (y2 - y1 + offset)
    kept: list[int] = []
    for i in np.argsort(-scores.numpy()):
        for j in kept:
            width = min(x2[i], x2[j]) - max(x1[i], x1[j]) + offset
            height = min(y2[i], y2[j]) - max(y1[i], y1[j]) + offset
            overlap = max(width, 0) * max(height, 0)
            if overlap > threshold * (areas[i] + areas[j] - overlap):
                break
        else:
            kept.append(int(i))
    return kept


@pytest.mark.parametrize('device', DEVICES)
@pytest.mark.parametrize('offset', [0, 1])
@pytest.mark.parametrize('threshold', [0.3, 0.5, 0.7])
def test_nms_keeps_what_its_definition_keeps(offset, threshold, device):
    boxes, scores = some_boxes(200)
    dets, kept = nms(boxes.to(device), scores.to(device), threshold, offset=offset)
    expected = reference_nms(boxes, scores, threshold, offset)
    assert kept.tolist() == expected
    assert torch.equal(dets[:, :4].cpu(), boxes[expected])
    assert torch.equal(dets[:, 4].cpu(), scores[expected])


def test_offset_changes_the_outcome():
    # 4 x 4 pixels side by side: IoU 1/3 as lengths, 2 * 4 / (2 * 16 - 8) with offset.
    boxes = torch.tensor([[0.0, 0.0, 3.0, 3.0], [2.0, 0.0, 5.0, 3.0]])
    scores = torch.tensor([0.9, 0.8])
    assert nms(boxes, scores, 0.25, offset=0)[1].tolist() == [0, 1]
    assert nms(boxes, scores, 0.25, offset=1)[1].tolist() == [0]


def test_nms_limits_of_score_and_number():
    boxes, scores = some_boxes(100)
    expected = [i for i in reference_nms(boxes, scores, 0.5, 0) if scores[i] > 0.4]
    _, kept = nms(boxes, scores, 0.5, score_threshold=0.4, max_num=5)
    assert kept.tolist() == expected[:5]


@pytest.mark.parametrize('dtype', [torch.float16, torch.float64, torch.int64])
def test_nms_of_other_number_types(dtype):
    boxes, scores = some_boxes(50)
    boxes = boxes.round()
    _, kept = nms(boxes.to(dtype), scores, 0.5)
    assert kept.tolist() == reference_nms(boxes, scores, 0.5, 0)


def test_nms_of_arrays_and_of_nothing():
    boxes, scores = some_boxes(50)
    _, kept = nms(boxes.numpy(), scores.numpy(), 0.5)
    assert kept.tolist() == reference_nms(boxes, scores, 0.5, 0)
    dets, kept = nms(boxes[:0], scores[:0], 0.5)
    assert dets.shape == (0, 5) and kept.shape == (0,)


@pytest.mark.parametrize('split_thr', [10000, 20])
def test_batched_nms_by_class(split_thr):
    boxes, scores = some_boxes(120)
    classes = torch.arange(120) % 3
    expected = []
    for label in range(3):
        index = (classes == label).nonzero().flatten()
        kept = reference_nms(boxes[index], scores[index], 0.4, 0)
        expected += index[kept].tolist()
    expected.sort(key=lambda i: -scores[i])
    config = {'type': 'nms', 'iou_threshold': 0.4, 'split_thr': split_thr}
    dets, kept = batched_nms(boxes, scores, classes, config)
    assert kept.tolist() == expected
    assert torch.equal(dets, torch.cat([boxes, scores[:, None]], dim=1)[expected])


def test_batched_nms_across_classes():
    boxes, scores = some_boxes(120)
    classes = torch.arange(120) % 3
    config = {'type': 'nms', 'iou_threshold': 0.4}
    _, kept = batched_nms(boxes, scores, classes, config, class_agnostic=True)
    assert kept.tolist() == reference_nms(boxes, scores, 0.4, 0)


needs_stand_in = pytest.mark.skipif(
    'mmnv3' not in importlib.util.find_spec('mmcv._ext').origin,
    reason='mmcv has compiled operators here',
)


@needs_stand_in
def test_other_operators_say_their_name_and_what_to_install():
    features, boxes = torch.rand(1, 1, 8, 8), torch.tensor([[0.0, 1, 1, 5, 5, 0]])
    name = 'roi_align_rotated_forward'
    with pytest.raises(NotImplementedError, match=f"'{name}'.*install"):
        roi_align_rotated(features, boxes, (2, 2), 1.0)
    with pytest.raises(NotImplementedError, match=r"'softnms'.*install"):
        soft_nms(*some_boxes(5))


@needs_stand_in
def test_probes_of_the_toolboxes_find_the_stand_in():
    assert importlib.util.find_spec('mmcv._ext').loader is not None
    assert mmcv_full_available() and check_ops_exist()
    assert 'torchvision' in collect_env()['MMCV Compiler']


def test_compiled_operators_come_first(run_python, tmp_path):
    package = tmp_path / 'first' / 'mmcv'
    package.mkdir(parents=True)
    (package / '__init__.py').touch()
    (package / '_ext.py').write_text("nms = 'compiled'")
    code = 'import mmnv3, mmcv._ext; print(mmcv._ext.nms)'
    assert run_python(code, first=(package.parent,)) == 'compiled'
