"""The input's size and the anchors, against cases worked by hand."""

from pathlib import Path

import numpy as np
import pytest

from mmnv3.datasets.layouts import OwnData, Sample
from mmnv3.own_data.fitting import (
    choose_crop_overlaps,
    choose_min_scale,
    choose_size,
)
from mmnv3.size import Size


def data(
    task: str, size: tuple[int, int], *boxes: tuple[int, int, int, int]
) -> OwnData:
    sample = Sample(
        path=Path('a.png'),
        size=Size(*size),
        labels=np.zeros(len(boxes), int),
        boxes=np.array(boxes, float).reshape(-1, 4),
        ignored=np.zeros(len(boxes), bool),
    )
    return OwnData(Path(), task, '', ('a',), (sample,) * 10, (), {})


@pytest.mark.parametrize(
    ('task', 'size', 'side', 'expected'),
    [
        # Large boxes: the area of 320 by 320, at the pictures' aspect.
        ('detection', (640, 640), 200, (320, 320)),
        ('detection', (640, 480), 200, (384, 288)),
        ('detection', (480, 640), 200, (288, 384)),
        # 40 of 640 pixels are to be 32: 512.
        ('detection', (640, 480), 40, (512, 384)),
        # 10 of 1600 cannot be 32 in the area of 512 by 512.
        ('detection', (1600, 1600), 10, (512, 512)),
        ('segmentation', (480, 360), None, (480, 352)),
        ('segmentation', (2048, 1024), None, (704, 352)),
        ('classification', (500, 375), None, (224, 224)),
        ('classification', (100, 90), None, (96, 96)),
    ],
)
def test_size(
    task: str, size: tuple[int, int], side: int | None, expected: tuple[int, int]
) -> None:
    boxes = [(0, 0, side, side)] if side else []
    found = choose_size(data(task, size, *boxes))
    assert found == Size(*expected)
    assert not found.width % 32 and not found.height % 32


def test_anchors_are_the_papers_where_those_serve() -> None:
    # Squares of a fifth of the input, as anchors of the first level are.
    boxes = [(x, y, 64, 64) for x in range(0, 256, 40) for y in range(0, 256, 40)]
    min_scale, fraction = choose_min_scale(
        data('detection', (320, 320), *boxes), Size(320, 320)
    )
    assert min_scale is None and fraction > 0.95


def test_anchors_follow_small_boxes() -> None:
    # Squares of 16 pixels, a quarter of the paper's smallest anchor. Of scale 0.05 the
    # next are 22.6 by 11.3, which share 0.55 with one at their centre.
    boxes = [(x, y, 16, 16) for x in range(0, 300, 23) for y in range(0, 300, 29)]
    given = data('detection', (320, 320), *boxes)
    min_scale, fraction = choose_min_scale(given, Size(320, 320))
    assert min_scale == 0.05
    assert fraction > 0.05
    assert choose_min_scale(data('detection', (320, 320)), Size(320, 320)) == (None, 0)


def test_crops_that_no_box_allows_are_not_sought() -> None:
    # A crop of half the sides is 100 by 100: a tenth of it is 1000 pixels.
    large, small = (0, 0, 40, 25), (50, 50, 37, 27)
    found = choose_crop_overlaps(data('detection', (200, 200), large))
    assert found == (0.1, 0.3, 0.5, 0.7, 0.9)
    assert choose_crop_overlaps(data('detection', (200, 200), large, small)) == ()
    # Without boxes there is nothing to overlap.
    assert choose_crop_overlaps(data('segmentation', (200, 200))) == found
