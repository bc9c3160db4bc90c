"""Steps do to pictures what the toolboxes' own transforms do, to the pixel."""

import numpy as np
import pytest
from mmdet.registry import TRANSFORMS as MMDET
from mmengine.config import Config
from mmengine.registry import DefaultScope
from mmpretrain.registry import TRANSFORMS as MMPRETRAIN
from mmseg.registry import TRANSFORMS as MMSEG

from mmnv3.engine.config import picture_steps
from mmnv3.resizing import (
    INTERPOLATIONS,
    CenterCrop,
    Resize,
    ResizeEdge,
    content_size,
    output_size,
    picture_size,
    resize_tf,
    step_from_dict,
    step_to_dict,
)
from mmnv3.size import Size

SIZES = ((640, 480), (333, 500), (97, 41), (64, 64), (50, 201))
WAYS = [
    dict(backend=backend, interpolation=name)
    for backend in ('cv2', 'pillow')
    for name in INTERPOLATIONS[backend]
]


def noise(size: tuple[int, int]) -> np.ndarray:
    random = np.random.default_rng(0)
    return random.integers(0, 256, (size[1], size[0], 3), np.uint8)


def check(registry, *transforms: dict) -> None:
    """Compares steps with transforms on pictures of several sizes."""
    loader = dict(dataset=dict(pipeline=list(transforms)))
    steps = picture_steps(Config(dict(model={'head': {}}, test_dataloader=loader)))
    assert len(steps) == len(transforms)
    steps = [step_from_dict(step_to_dict(step)) for step in steps]
    # Another test may have left its toolbox's scope behind.
    with DefaultScope.overwrite_default_scope(registry.scope):
        theirs = [registry.build(dict(transform)) for transform in transforms]
    for size in SIZES:
        picture = noise(size)
        results = dict(img=picture, img_shape=picture.shape[:2])
        for transform in theirs:
            results = transform(results)
        found = picture
        for step in steps:
            found = step(found)
        np.testing.assert_array_equal(found, results['img'])
        assert output_size(steps, Size(*size)) == picture_size(found)
        if 'scale_factor' in results and not isinstance(steps[-1], CenterCrop):
            content = np.array(content_size(steps, Size(*size)))
            np.testing.assert_array_equal(content / size, results['scale_factor'])


@pytest.mark.parametrize('registry', [MMDET, MMSEG, MMPRETRAIN])
@pytest.mark.parametrize('keep_ratio', [True, False])
def test_resize(registry, keep_ratio) -> None:
    for way in [{}, *WAYS]:
        for scale in (64, (160, 96), (97, 200)):
            scale = (scale, scale) if isinstance(scale, int) else scale
            resize = dict(type='Resize', scale=scale, keep_ratio=keep_ratio, **way)
            check(registry, resize)


@pytest.mark.parametrize('edge', ['short', 'long', 'width', 'height'])
def test_resize_edge_and_center_crop(edge) -> None:
    for way in [{}, *WAYS]:
        resize = dict(type='ResizeEdge', scale=75, edge=edge, **way)
        check(MMPRETRAIN, resize)
        for size in (40, 64, (33, 60), 200):
            check(MMPRETRAIN, resize, dict(type='CenterCrop', crop_size=size))


@pytest.mark.parametrize('registry', [MMDET, MMPRETRAIN])
def test_letterboxes(registry) -> None:
    resize = dict(type='Resize', scale=(128, 96), keep_ratio=True)
    for pad in (
        dict(size=(128, 96)),
        dict(size=(128, 128), pad_val=dict(img=(114, 7, 255))),
        dict(size=(128, 128), pad_val=114),
        dict(size_divisor=32, pad_val=dict(img=114)),
        dict(pad_to_square=True),
    ):
        check(registry, resize, dict(type='Pad', **pad))


def test_tensorflow_reads_without_a_shift_by_hand() -> None:
    """Five pixels to four: read at 0, 1.25, 2.5 and 3.75; two rows to one: at 0."""
    row = np.array([0, 8, 16, 40, 80], np.uint8)
    picture = np.stack([row, row + 100])[..., None].repeat(3, 2)
    found = resize_tf(picture, Size(4, 1))
    assert found.dtype == np.float32 and found.shape == (1, 4, 3)
    np.testing.assert_allclose(found[0, :, 0], [0, 10, 28, 70])
    # Enlarged, the last column has nothing behind it: 0, 0.5, 1, 1.5 of two pixels.
    larger = resize_tf(picture[:, :2], Size(4, 2))
    np.testing.assert_allclose(larger[0, :, 0], [0, 4, 8, 8])


def test_the_transform_and_the_step_are_tensorflows() -> None:
    check(MMDET, dict(type='mmnv3.ResizeTF', scale=(64, 48)))


def test_no_side_of_a_thin_picture_vanishes() -> None:
    line = np.zeros((1, 400, 3), np.uint8)
    assert Resize(Size(20, 20), keep_ratio=True)(line).shape == (1, 20, 3)
    assert ResizeEdge(20, 'long')(line).shape == (1, 20, 3)
    assert ResizeEdge(20, 'long')(line.transpose(1, 0, 2)).shape == (20, 1, 3)
