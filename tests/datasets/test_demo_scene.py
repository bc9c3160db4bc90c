"""Pictures in memory, against exact geometry by shapely."""

from __future__ import annotations

import numpy as np
import pytest
import shapely
from shapely.geometry import Polygon, box

from mmnv3.datasets.demo import CLASSES, PALETTE, SEGMENTATION_CLASSES, draw_scene
from mmnv3.datasets.demo.layout import EXTENT, MAX_OBJECTS
from mmnv3.datasets.demo.scene import Scene
from mmnv3.datasets.demo.shapes import Shape, make_shape
from mmnv3.errors import UserError

SIZE = 160


@pytest.fixture(scope='module')
def scenes() -> list[Scene]:
    return [draw_scene(np.random.default_rng([7, i]), SIZE) for i in range(60)]


def as_polygon(shape: Shape) -> Polygon:
    outer, *holes = shape.contours
    return Polygon(outer, holes)


def seen_polygons(scene: Scene) -> list[Polygon]:
    """What is left of each shape inside the frame and beside those before it."""
    free = box(0, 0, SIZE, SIZE)
    seen = []
    for shape in reversed(scene.shapes):
        polygon = as_polygon(shape)
        seen.append(polygon & free)
        free = free - polygon
    return seen[::-1]


def test_same_state_same_picture() -> None:
    first, again, other = (
        draw_scene(np.random.default_rng(seed), SIZE) for seed in (1, 1, 2)
    )
    assert first.image.tobytes() == again.image.tobytes()
    assert first.masks.tobytes() == again.masks.tobytes()
    assert first.image.tobytes() != other.image.tobytes()


@pytest.mark.parametrize('size', [64, 321])
def test_arrays_have_the_promised_form(size: int) -> None:
    scene = draw_scene(np.random.default_rng(0), size)
    count = len(scene.shapes)
    assert scene.image.shape == (size, size, 3) and scene.image.dtype == np.uint8
    assert scene.masks.shape == (count, size, size) and scene.masks.dtype == bool
    assert scene.boxes.shape == (count, 4) and scene.boxes.dtype == np.int64
    assert scene.labels.shape == (count,) and scene.labels.dtype == np.int64


@pytest.mark.parametrize('size', [0, 63, 2049])
def test_size_out_of_range_is_refused(size: int) -> None:
    with pytest.raises(UserError, match=f'size={size}: choose 64 to 2048'):
        draw_scene(np.random.default_rng(0), size)


def test_boxes_are_tight_around_masks(scenes: list[Scene]) -> None:
    for scene in scenes:
        for (x0, y0, x1, y1), mask in zip(scene.boxes, scene.masks, strict=True):
            rows, columns = np.nonzero(mask)
            assert (x0, x1) == (columns.min(), columns.max() + 1)
            assert (y0, y1) == (rows.min(), rows.max() + 1)


def test_masks_are_the_visible_parts(scenes: list[Scene]) -> None:
    excesses = []
    for scene in scenes:
        assert scene.masks.sum(axis=0).max() == 1
        for polygon, mask in zip(seen_polygons(scene), scene.masks, strict=True):
            # Pixels further than one pixel from the outline leave no doubt.
            y, x = np.mgrid[:SIZE, :SIZE] + 0.5
            inner = shapely.contains_xy(polygon.buffer(-1), x, y)
            outer = shapely.contains_xy(polygon.buffer(1), x, y)
            assert mask[inner].all()
            # One pixel for cracks between two shapes in front that half cover it.
            assert mask[~outer].sum() <= 1
            excess = (mask.sum() - polygon.area) / polygon.length
            excesses.append(excess)
            assert abs(excess) < 0.2
    # Pixels per pixel of outline: the masks are neither fat nor thin.
    assert abs(np.mean(excesses)) < 0.05


def test_no_shape_is_hidden_by_more_than_half(scenes: list[Scene]) -> None:
    fractions = [
        polygon.area / as_polygon(shape).area
        for scene in scenes
        for polygon, shape in zip(seen_polygons(scene), scene.shapes, strict=True)
    ]
    # Pixel masks decide in the generator, exact areas here: hence the slack.
    assert min(fractions) > 0.5 - 0.02
    assert min(fractions) < 0.65, 'no occlusion at all'


def test_semantic_map_names_the_front_shape(scenes: list[Scene]) -> None:
    for scene in scenes:
        semantic = scene.semantic_map()
        assert semantic.shape == (SIZE, SIZE) and semantic.dtype == np.uint8
        assert (semantic[~scene.masks.any(axis=0)] == 0).all()
        for label, mask in zip(scene.labels, scene.masks, strict=True):
            assert SEGMENTATION_CLASSES[semantic[mask].min()] == CLASSES[label]
            assert semantic[mask].min() == semantic[mask].max()


def test_scenes_vary(scenes: list[Scene]) -> None:
    counts = {len(scene.shapes) for scene in scenes}
    labels = {int(label) for scene in scenes for label in scene.labels}
    extents = [shape.extent / SIZE for scene in scenes for shape in scene.shapes]
    assert counts == set(range(1, MAX_OBJECTS + 1))
    assert labels == set(range(len(CLASSES)))
    assert EXTENT[0] <= min(extents) < 0.22 and 0.5 < max(extents) <= EXTENT[1]


def test_shapes_can_be_told_from_the_ground(scenes: list[Scene]) -> None:
    """Every object differs in colour from a band of ground around it."""
    for scene in scenes:
        ground = ~scene.masks.any(axis=0)
        for (x0, y0, x1, y1), mask in zip(scene.boxes, scene.masks, strict=True):
            near = np.zeros_like(ground)
            near[max(y0 - 8, 0) : y1 + 8, max(x0 - 8, 0) : x1 + 8] = True
            around = scene.image[near & ground].astype(float)
            inside = scene.image[mask].astype(float)
            gap = np.abs(np.median(inside, axis=0) - np.median(around, axis=0))
            assert gap.max() > 4


@pytest.mark.parametrize('label', range(len(CLASSES)), ids=CLASSES)
def test_outline_has_its_class_form(label: int) -> None:
    shape = make_shape(np.random.default_rng(label), label, extent=50.0)
    polygon = as_polygon(shape)
    assert polygon.is_valid
    assert shape.area == pytest.approx(polygon.area)
    assert shape.bounds == pytest.approx(polygon.bounds)
    assert shape.extent == pytest.approx(50.0)
    solidity = polygon.area / polygon.convex_hull.area
    convex = CLASSES[label] in ('disc', 'square', 'triangle')
    assert (solidity == pytest.approx(1)) == convex
    assert len(polygon.interiors) == (CLASSES[label] == 'ring')


def test_one_colour_per_class() -> None:
    assert len(set(PALETTE)) == len(PALETTE) == len(CLASSES)
