"""Steps in a graph, against those on pictures, which are cv2's and TensorFlow's."""

import numpy as np
import pytest
import torch

from mmnv3.deploy.traced_resizing import TracedSteps
from mmnv3.errors import UserError
from mmnv3.resizing import (
    CenterCrop,
    Pad,
    Resize,
    ResizeEdge,
    content_size,
    picture_size,
)
from mmnv3.size import Size

SIZE = Size(19, 13)
# One pixel, wide, tall, smaller, larger, of the same size, and twice as large.
PICTURES = [(1, 1), (1, 90), (70, 2), (3, 5), (57, 83), (13, 19), (26, 38), (301, 211)]
STEPS = {
    'stretched': (Resize(SIZE),),
    'tensorflow': (Resize(SIZE, backend='tensorflow'),),
    'letterbox': (Resize(Size(13, 13), keep_ratio=True), Pad(SIZE)),
    'short edge': (ResizeEdge(24), CenterCrop(SIZE)),
    'long edge': (ResizeEdge(19, 'long'), Pad(Size(19, 19))),
    'odd crop': (ResizeEdge(31), CenterCrop(Size(16, 9))),
    'square': (Resize(SIZE, keep_ratio=True), Pad(square=True, divisor=20)),
}


def noise(height: int, width: int) -> np.ndarray:
    random = np.random.default_rng(height * 1000 + width)
    return random.integers(0, 256, (height, width, 3), dtype=np.uint8)


@pytest.mark.parametrize('shape', PICTURES)
@pytest.mark.parametrize('name', STEPS)
def test_pixels_are_those_of_the_steps(name, shape) -> None:
    steps, picture = STEPS[name], noise(*shape)
    expected = picture
    for step in steps:
        expected = step(expected)
    traced = TracedSteps.of(steps, picture_size(expected))
    image = torch.from_numpy(picture)
    across, down = traced.sides(image)
    found = traced(image, across, down)
    padding = traced.padding(across, down)
    if traced.pad:
        found = found.masked_fill(padding, 0)
    assert found.dtype == torch.float32 and found.shape == expected.shape
    np.testing.assert_array_equal(found.numpy(), expected.astype(np.float32))
    content = content_size(steps, picture_size(picture))
    assert (int(across.kept), int(down.kept)) == content
    assert int((~padding).sum()) == content.width * content.height


def test_large_pictures_differ_by_a_level_in_a_hundred_thousand_pixels() -> None:
    picture, size = noise(1080, 1919), Size(769, 513)
    traced = TracedSteps.of((Resize(size),), size)
    image = torch.from_numpy(picture)
    found = traced(image, *traced.sides(image)).numpy()
    apart = np.abs(found - Resize(size)(picture))
    assert apart.max() <= 1 and (apart > 0).mean() < 1e-5


@pytest.mark.parametrize(
    ('steps', 'message'),
    [
        ((Resize(SIZE, keep_ratio=True),), 'to different sizes, and the file takes 19'),
        ((Resize(SIZE, interpolation='area'),), 'by cv2 area, and a file can by cv2 b'),
        ((Pad(SIZE),), 'does Pad, and a file can resize, then cut out the middle'),
        ((Resize(SIZE), Pad(SIZE), CenterCrop(SIZE)), 'does Resize, Pad, CenterCrop, '),
        ((Resize(SIZE), Resize(SIZE)), 'does Resize, Resize, and'),
    ],
)
def test_what_a_graph_cannot_do_is_refused(steps, message) -> None:
    with pytest.raises(UserError, match=message) as error:
        TracedSteps.of(steps, SIZE)
    assert '\n' not in str(error.value)
