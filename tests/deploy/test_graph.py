"""Models as plain modules."""

import copy

import pytest
import torch
from mmdet.models import SingleStageDetector
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

from mmnv3.deploy.graph import build_graph
from mmnv3.errors import UserError
from mmnv3.models.nms import clip_boxes
from mmnv3.size import Size
from tests.deploy.cases import CASES, DETECTORS, SEGMENTERS, blurred_noise


def test_every_kind_of_network_is_a_case() -> None:
    assert {*DETECTORS, *SEGMENTERS, 'classifier'} == set(CASES)


def _grids(model: nn.Module) -> set:
    """What a detector's anchor generator remembers."""
    head = getattr(model, 'bbox_head', None)
    return set(head.prior_generator._grids) if head else set()


@pytest.mark.parametrize('case', CASES)
def test_the_graph_folds_norms_and_leaves_the_model_alone(exported, case) -> None:
    model = copy.deepcopy(exported.model(case)).train()
    before = copy.deepcopy(model.state_dict())
    grids = _grids(model)
    graph = build_graph(model, CASES[case].size)
    graph(graph.example())
    assert not any(isinstance(part, _BatchNorm) for part in graph.modules())
    assert not any(p.requires_grad for p in graph.parameters())
    assert not graph.training and model.training
    assert all(p.requires_grad for p in model.parameters())
    after = model.state_dict()
    assert before.keys() == after.keys()
    assert all(torch.equal(before[key], after[key]) for key in before)
    assert _grids(model) == grids


@torch.no_grad()
@pytest.mark.parametrize('case', DETECTORS)
def test_detectors_decode_and_clip(exported, case) -> None:
    model, graph = exported.model(case), exported.graph(case)
    width, height = CASES[case].size
    x = blurred_noise(CASES[case].size)
    maps = model.bbox_head(model.extract_feat(x))
    everything = dict(
        nms_pre=10**6, score_thr=-1.0, max_per_img=10**6, nms=dict(type='nms')
    )
    meta = dict(img_shape=(height, width), batch_input_shape=(height, width))
    expected = model.bbox_head.predict_by_feat(
        *maps, batch_img_metas=[meta], cfg=everything, rescale=False, with_nms=False
    )[0]
    boxes, scores = graph(x)
    if model.bbox_head.test_cfg.get('clip_after_nms'):
        assert boxes.min() < 0
        boxes = clip_boxes(boxes[0], Size(width, height))[None]
    assert boxes.shape[:2] == scores.shape[:2]
    assert scores.shape[2] == graph.num_classes == model.bbox_head.num_classes
    assert len(expected.scores) == scores.numel()
    assert boxes.min() == 0
    assert boxes[..., 0::2].max() == width and boxes[..., 1::2].max() == height
    # The head's list has a box for every score; sums do not depend on its order.
    torch.testing.assert_close(
        scores.double().sum(), expected.scores.double().sum(), rtol=1e-5, atol=0
    )
    weighted = (boxes * scores.sum(-1, keepdim=True)).double().sum(1)[0]
    theirs = (expected.bboxes * expected.scores[:, None]).double().sum(0)
    torch.testing.assert_close(weighted, theirs, rtol=1e-5, atol=0)


@torch.no_grad()
def test_a_detector_reads_its_config_before_it_is_traced(exported) -> None:
    """PyTorch 2.6 cannot follow mmengine's dictionaries."""
    case = DETECTORS[0]
    model = copy.deepcopy(exported.model(case))
    for postprocess in (False, True):
        graph = build_graph(model, CASES[case].size, postprocess=postprocess)
        expected = graph(graph.example())
        graph.model.bbox_head.test_cfg = None
        torch.testing.assert_close(graph(graph.example()), expected)


@torch.no_grad()
@pytest.mark.parametrize('case', SEGMENTERS)
def test_segmenters_resize_to_the_picture(exported, case) -> None:
    model, graph = exported.model(case), exported.graph(case)
    x = blurred_noise(CASES[case].size)
    maps = model.decode_head(model.extract_feat(x))
    expected = model.decode_head.predict_by_feat(
        maps, [dict(img_shape=tuple(x.shape[2:]))]
    )
    assert graph(x).shape == (1, graph.num_classes, *x.shape[2:])
    assert 0.5 < expected.std() < 2
    torch.testing.assert_close(graph(x), expected, atol=1e-4, rtol=0)


@torch.no_grad()
def test_classifiers_give_logits(exported) -> None:
    model, graph = exported.model('classifier'), exported.graph('classifier')
    x = blurred_noise((224, 224))
    expected = model(x, mode='tensor')
    assert 0.5 < expected.std() < 2
    torch.testing.assert_close(graph(x), expected, atol=1e-4, rtol=0)


def test_another_size_than_the_anchors_is_refused(exported) -> None:
    with pytest.raises(UserError, match='laid out for 320x320, not 300x320'):
        build_graph(exported.model('sigmoid'), (300, 320))


def test_other_models_are_refused() -> None:
    with pytest.raises(UserError, match='Linear cannot be exported'):
        build_graph(nn.Linear(1, 1), (32, 32))
    detector = SingleStageDetector.__new__(SingleStageDetector)
    nn.Module.__init__(detector)
    detector.bbox_head = nn.Identity()
    with pytest.raises(UserError, match='SingleStageDetector cannot be exported'):
        build_graph(detector, (32, 32))
