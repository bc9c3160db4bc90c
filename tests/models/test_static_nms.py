"""The graph's suppression is the growing one's."""

import pytest
import torch

from mmnv3.models.nms import CANDIDATES, progressive_nms, static_nms
from mmnv3.size import Size

SETTINGS = dict(iou_threshold=0.5, score_threshold=0.3, max_num=20)


def crowd(count: int, classes: int, seed: int = 0) -> tuple[torch.Tensor, torch.Tensor]:
    """Boxes that overlap often, and scores."""
    random = torch.Generator().manual_seed(seed)
    corners = 100 * torch.rand(count, 2, generator=random)
    sides = 10 + 40 * torch.rand(count, 2, generator=random)
    scores = torch.rand(count, classes, generator=random)
    return torch.cat([corners, corners + sides], 1), scores


@pytest.mark.parametrize('window', [None, Size(70, 90)])
@pytest.mark.parametrize('per_class', [-1, 3])
@pytest.mark.parametrize(('count', 'classes'), [(30, 3), (200, 4), (4, 2)])
def test_what_is_found_is_that_of_the_growing_suppression(
    count: int, classes: int, per_class: int, window: Size | None
) -> None:
    for seed in range(5):
        boxes, scores = crowd(count, classes, seed)
        # Few pass, as of a trained detector.
        scores = scores**4
        settings = dict(**SETTINGS, per_class=per_class, window=window)
        found, best, labels = static_nms(boxes, scores, **settings)
        expected = progressive_nms(scores, lambda index: boxes[index], **settings)  # noqa: B023
        assert found.shape == (1, 20, 4)
        assert best.shape == labels.shape == (1, 20) and labels.dtype == torch.int32
        kept = int((best > 0).sum())
        assert 0 < kept == len(expected[1])
        for ours, theirs in zip((found, best, labels), expected, strict=True):
            assert torch.equal(ours[0, :kept], theirs.to(ours.dtype))
        assert not best[0, kept:].any()


def test_candidates_are_bounded() -> None:
    """Copies of one box hide another behind more of them than are tried."""
    copies = CANDIDATES * 2
    boxes = torch.tensor([[0.0, 0, 9, 9]] * copies + [[50.0, 50, 59, 59]])
    scores = torch.cat([torch.full((copies, 1), 0.9), torch.full((1, 1), 0.5)])
    settings = dict(iou_threshold=0.5, score_threshold=0.1, max_num=2)
    _, best, _ = static_nms(boxes, scores, **settings)
    assert best[0].tolist() == pytest.approx([0.9, 0])
    _, best, _ = static_nms(boxes[-copies // 2 :], scores[-copies // 2 :], **settings)
    assert best[0].tolist() == pytest.approx([0.9, 0.5])


class Suppression(torch.nn.Module):
    def forward(self, boxes: torch.Tensor, scores: torch.Tensor) -> tuple:
        return static_nms(boxes, scores, **SETTINGS)


@pytest.mark.filterwarnings('ignore:create_unbacked_symint')
def test_an_exported_graph_finds_none_one_and_many() -> None:
    boxes, scores = crowd(30, 1)
    graph = torch.export.export(Suppression(), (boxes, scores)).module()
    same = boxes[:1].repeat(30, 1)
    for count, *picture in (
        (0, same, 0 * scores),
        (1, same, scores),
        (19, boxes, scores),
    ):
        found = graph(*picture)
        for ours, theirs in zip(found, Suppression()(*picture), strict=True):
            assert torch.equal(ours, theirs)
        assert (found[1] > 0).sum() == count


def test_what_is_not_a_number_scores_nothing() -> None:
    boxes, scores = crowd(200, 4)
    nan = torch.full_like(scores, float('nan'))
    for sick in (nan, torch.where(scores > 0.3, nan, scores)):
        _, best, _ = static_nms(boxes, sick, **SETTINGS)
        assert torch.equal(best, torch.zeros(1, 20))
