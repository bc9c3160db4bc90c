"""Pictures with what was found in them."""

import numpy as np
import pytest

from mmnv3.deploy.drawing import distinct_colours, draw
from mmnv3.deploy.results import Classification, Detections, Segmentation

NAMES = ('cat', 'dog', 'bird')
PALETTE = ((250, 0, 0), (0, 250, 0), (0, 0, 250))
GREY = np.full((600, 900, 3), 100, np.uint8)


def detections(boxes, scores, labels) -> Detections:
    return Detections(
        np.array(boxes, np.float32).reshape(-1, 4),
        np.array(scores, np.float32),
        np.array(labels, np.int64),
        NAMES,
    )


def has(picture: np.ndarray, rgb: tuple[int, int, int]) -> bool:
    return (picture == rgb[::-1]).all(-1).any()


def test_boxes_have_their_place_colour_and_label() -> None:
    found = detections([[100, 200, 300, 400], [500, 50, 700, 150]], [0.9, 0.2], [1, 0])
    drawn = draw(GREY, found, PALETTE)
    assert drawn.shape == GREY.shape and (GREY == 100).all()
    green = (drawn == (0, 250, 0)).all(-1)
    rows, columns = np.nonzero(green)
    # The line is drawn around the box's edge, two pixels wide.
    np.testing.assert_allclose(
        (columns.min(), rows.min(), columns.max(), rows.max()),
        (100, 200, 300, 400),
        atol=2,
    )
    assert green[200:216, 102:150].mean() > 0.5  # The label's background.
    assert (drawn[300, 200] == 100).all()
    assert not has(drawn, PALETTE[0])  # Below the threshold.
    assert has(draw(GREY, found, PALETTE, 0.1), PALETTE[0])


def test_small_pictures_are_enlarged_and_crowds_get_a_legend() -> None:
    small = np.full((60, 100, 3), 100, np.uint8)
    few = detections([[10, 10, 50, 50]], [0.9], [0])
    drawn = draw(small, few, PALETTE)
    assert drawn.shape == (480, 800, 3)
    corners = [[2 * n, n, 2 * n + 20, n + 15] for n in range(40)]
    many = detections(corners, [0.9] * 40, [0, 2] * 20)
    drawn = draw(small, many, PALETTE)
    assert drawn.shape[1] == 800 and drawn.shape[0] > 480
    legend = drawn[480:]
    assert has(legend, PALETTE[0]) and has(legend, PALETTE[2])
    assert not has(legend, PALETTE[1])


@pytest.mark.parametrize(
    'boxes', [[], [[-5, -5, 2000, 2000]], [[10, 10, 10, 10]], [[9.6, 9.6, 9.4, 9.4]]]
)
def test_no_boxes_and_odd_boxes_are_drawn(boxes) -> None:
    found = detections(boxes, [0.995] * len(boxes), [0] * len(boxes))
    assert draw(GREY, found).shape == GREY.shape


def test_masks_are_mixed_in_with_a_legend() -> None:
    mask = np.zeros((600, 900), np.uint8)
    mask[:, 450:] = 2
    drawn = draw(GREY, Segmentation(mask, NAMES), PALETTE)
    assert drawn.shape[0] > 600 and drawn.shape[1] == 900
    # Half the picture, half the palette.
    np.testing.assert_allclose(drawn[300, 100], (50, 50, 175), atol=1)
    np.testing.assert_allclose(drawn[300, 800], (175, 50, 50), atol=1)
    assert has(drawn[600:], PALETTE[0]) and not has(drawn[600:], PALETTE[1])


def test_classes_stand_below() -> None:
    result = Classification(np.array([0.7, 0.2]), np.array([2, 0]), NAMES)
    drawn = draw(GREY, result, PALETTE)
    np.testing.assert_array_equal(drawn[:600], GREY)
    assert has(drawn[600:], PALETTE[2]) and not has(drawn[600:], PALETTE[1])


def test_colours_are_distinct() -> None:
    colours = np.array(distinct_colours(80))
    apart = np.abs(colours[:, None] - colours).sum(-1) + 1000 * np.eye(80)
    assert apart.min() > 10
    assert np.abs(np.diff(colours, axis=0)).sum(-1).min() > 150
    assert distinct_colours(0) == []
