"""Suppression that stops early against suppressing everything, class by class."""

import numpy as np
import pytest
import torch
from torchvision.ops import batched_nms, box_iou

from mmnv3.models.nms import _highest, array_nms, progressive_nms
from mmnv3.size import Size


def slow_nms(
    scores: torch.Tensor,
    boxes: torch.Tensor,
    iou: float,
    thr: float,
    max_num: int,
    per_class: int,
) -> set[tuple[int, int]]:
    """Greedy suppression written out; returns (anchor, class) of the survivors."""
    kept = []
    for label in range(scores.shape[1]):
        order = scores[:, label].argsort(descending=True).tolist()
        order = [i for i in order if scores[i, label] > thr]
        alive = order[:per_class] if per_class > 0 else order
        while alive:
            best, *rest = alive
            kept.append((scores[best, label].item(), best, label))
            overlaps = box_iou(boxes[best][None], boxes[rest])[0] if rest else []
            alive = [i for i, o in zip(rest, overlaps) if o <= iou]
    return {
        (anchor, label) for _, anchor, label in sorted(kept, reverse=True)[:max_num]
    }


@pytest.mark.parametrize('per_class', [-1, 7])
@pytest.mark.parametrize('max_num', [5, 40, 10000])
@pytest.mark.parametrize('spread', [20, 300])
def test_equals_suppressing_everything(
    max_num: int, per_class: int, spread: int
) -> None:
    torch.manual_seed(max_num + spread)
    corners = torch.rand(150, 2) * spread
    boxes = torch.cat((corners, corners + 10 + 40 * torch.rand(150, 2)), 1)
    scores = torch.rand(150, 6)
    found, best, labels = progressive_nms(
        scores,
        lambda index: boxes[index],
        iou_threshold=0.4,
        score_threshold=0.3,
        max_num=max_num,
        per_class=per_class,
    )
    anchors = [
        int(((boxes == box).all(1) & (scores[:, label] == score)).nonzero())
        for box, score, label in zip(found, best, labels)
    ]
    expected = slow_nms(scores, boxes, 0.4, 0.3, max_num, per_class)
    assert set(zip(anchors, labels.tolist())) == expected
    assert (best.diff() <= 0).all()


def test_nothing_above_the_threshold() -> None:
    boxes, scores, labels = progressive_nms(
        torch.zeros(10, 3),
        lambda index: torch.zeros(len(index), 4),
        iou_threshold=0.5,
        score_threshold=0.0,
        max_num=5,
    )
    assert boxes.shape == (0, 4) and scores.shape == (0,) and labels.shape == (0,)


@pytest.mark.parametrize('threshold', [-float('inf'), 0.0, 0.3])
def test_what_is_not_a_number_is_no_detection(threshold: float) -> None:
    torch.manual_seed(0)
    # All apart, so that only the threshold decides.
    boxes = 20.0 * torch.arange(30)[:, None] + torch.tensor([0, 0, 9, 9])
    scores = torch.rand(30, 2)
    scores[::3] = float('nan')
    scores[1, 0] = float('nan')
    boxes[4, 2] = float('nan')
    settings = dict(iou_threshold=0.5, score_threshold=threshold, max_num=100)
    found, best, _ = progressive_nms(scores, lambda index: boxes[index], **settings)
    sane = scores > threshold
    sane[4] = False
    assert len(found) == sane.sum() and found.isfinite().all()
    assert torch.equal(best, scores[sane].sort(descending=True).values)
    whole = progressive_nms(
        torch.full((30, 2), float('nan')), lambda index: boxes[index], **settings
    )
    assert [len(part) for part in whole] == [0, 0, 0]


@pytest.mark.parametrize('num_classes', [1, 3, 30])
@pytest.mark.parametrize('kind', ['apart', 'ties', 'equal', 'nan'])
def test_the_highest_scores_are_found(num_classes: int, kind: str) -> None:
    torch.manual_seed(0)
    scores = torch.rand(30_000 // num_classes * num_classes)
    if kind == 'ties':
        scores = (scores * 20).round() / 20
    elif kind == 'equal':
        scores[:] = 0.5
    elif kind == 'nan':
        scores[::7] = float('nan')
    values = scores.numpy()
    places = np.arange(len(values))
    first = np.lexsort((places // num_classes, places % num_classes, -values))
    first = first[~np.isnan(values[first])]
    for size in (1, 40, 400, 29_000, 40_000):
        for threshold in (-float('inf'), 0.3, 0.99, 2.0):
            index, best, complete = _highest(values, num_classes, size, threshold)
            passing = first[values[first] > threshold]
            assert np.array_equal(best, values[index])
            assert set(index.tolist()) == set(passing[: len(index)].tolist())
            assert len(index) == len(passing) if complete else len(index) >= size
    # Not many more than are wanted, where they differ.
    if kind == 'apart':
        index, _, complete = _highest(values, num_classes, 400, 0.01)
        assert 400 <= len(index) < 2000 and not complete


@pytest.mark.parametrize(
    'kind', ['apart', 'ties', 'clutter', 'far apart', 'outside', 'flat']
)
@pytest.mark.parametrize('num_classes', [1, 3, 30])
def test_arrays_are_suppressed_as_torchvision_does(num_classes: int, kind: str) -> None:
    torch.manual_seed(0)
    count = 1000
    corners = torch.rand(count, 2) * (3e4 if kind == 'far apart' else 300)
    if kind == 'clutter':  # A few objects, each found a hundred times.
        corners = corners[:20].repeat(count // 20, 1) + 5 * torch.rand(count, 2)
    boxes = torch.cat((corners, corners + 20 + 20 * torch.rand(count, 2)), 1)
    scores = torch.randperm(count * num_classes).view(count, num_classes).float()
    if kind == 'ties':  # Of coordinates, so that overlaps equal the threshold.
        boxes = (boxes / 5).round() * 5
    if kind == 'flat':  # Some are where others are, without an area.
        boxes[::5, 2] = boxes[::5, 0]
        boxes[5::10] = boxes[:-5:10]
    labels = torch.arange(num_classes).repeat(count)
    every = boxes.double().repeat_interleave(num_classes, 0)
    if kind == 'outside':  # torchvision wants them where no coordinate is negative.
        boxes -= 256
    for max_num, iou in ((1, 0.5), (100, 0.6), (100, 0.7), (1000, 0.35)):
        kept = batched_nms(every, scores.flatten().double(), labels, iou)[:max_num]
        found, best, classes = array_nms(
            boxes.numpy(),
            scores.numpy(),
            iou_threshold=iou,
            score_threshold=-1,
            max_num=max_num,
        )
        assert np.array_equal(best, scores.flatten()[kept])
        assert np.array_equal(classes, labels[kept])
        assert np.array_equal(found, boxes[kept // num_classes])


class OnMps(torch.Tensor):
    """A tensor that says it is on Apple's GPU, which has no double precision."""

    @property
    def device(self) -> torch.device:
        return torch.device('mps')

    def double(self) -> torch.Tensor:
        raise TypeError('the MPS framework does not support float64')

    def cpu(self) -> torch.Tensor:
        return self.as_subclass(torch.Tensor)


def test_a_device_without_double_precision_suppresses_alike() -> None:
    torch.manual_seed(0)
    # Far from the origin and in many classes, where single precision errs.
    corners = 3000 + 200 * torch.rand(300, 2)
    boxes = torch.cat((corners, corners + 10 + 40 * torch.rand(300, 2)), 1)
    scores = torch.rand(300, 40)
    settings = dict(iou_threshold=0.4, score_threshold=0.3, max_num=50)
    expected = progressive_nms(scores, lambda index: boxes[index], **settings)
    there = boxes.as_subclass(OnMps)
    found = progressive_nms(
        scores.as_subclass(OnMps), lambda index: there[index], **settings
    )
    for ours, theirs in zip(found, expected, strict=True):
        assert isinstance(ours, OnMps)
        assert torch.equal(ours.as_subclass(torch.Tensor), theirs)


def original_order(
    scores: torch.Tensor, boxes: torch.Tensor, iou: float, max_num: int, side: int
) -> list[tuple[int, int]]:
    """The Object Detection API's order: suppress, clip, drop the empty, sort, cut."""
    kept = []
    for label in range(scores.shape[1]):
        alive = scores[:, label].argsort(descending=True, stable=True).tolist()
        survivors = []
        while alive and len(survivors) < max_num:
            best, *rest = alive
            survivors.append((-scores[best, label].item(), label, best))
            overlaps = box_iou(boxes[best][None], boxes[rest])[0] if rest else []
            alive = [i for i, o in zip(rest, overlaps) if o <= iou]
        kept += survivors
    clipped = boxes.clamp(0, side)
    left = (clipped[:, 2:] > clipped[:, :2]).all(1)
    return [(box, label) for _, label, box in sorted(kept) if left[box]][:max_num]


@pytest.mark.parametrize('max_num', [3, 30, 100])
@pytest.mark.parametrize('ties', [False, True])
def test_clips_after_suppression_as_the_original(max_num: int, ties: bool) -> None:
    for seed in range(5):
        torch.manual_seed(seed)
        corners = torch.rand(120, 2) * 200 - 60
        boxes = torch.cat((corners, corners + 10 + 60 * torch.rand(120, 2)), 1)
        scores = torch.rand(120, 4)
        if ties:
            scores = (scores * 10).round() / 10
        found, best, labels = progressive_nms(
            scores,
            lambda index: boxes[index],  # noqa: B023
            iou_threshold=0.4,
            score_threshold=-1,
            max_num=max_num,
            window=Size(100, 100),
        )
        expected = original_order(scores, boxes, 0.4, max_num, 100)
        assert labels.tolist() == [label for _, label in expected]
        places = [box for box, _ in expected]
        assert torch.equal(found, boxes[places].clamp(0, 100))
        assert torch.equal(best, scores[places, labels])


@pytest.mark.parametrize('far', [1e7, 1e30, float('inf')])
def test_a_box_without_end_leaves_the_others_their_digits(far: float) -> None:
    boxes = torch.tensor(
        [[0.0, 0, 10, 10], [0, 0, 10, 11], [-far, -far, far, far], [5, 5, 9, 9]]
    )
    scores = torch.tensor([[0.9, 0.1], [0.8, 0.7], [0.6, 0.5], [0.2, 0.4]])
    _, best, labels = progressive_nms(
        scores,
        lambda index: boxes[index],
        iou_threshold=0.5,
        score_threshold=0.3,
        max_num=10,
        window=Size(20, 20),
    )
    assert best.tolist() == pytest.approx([0.9, 0.7, 0.6, 0.5, 0.4])
    assert labels.tolist() == [0, 1, 0, 1, 1]
