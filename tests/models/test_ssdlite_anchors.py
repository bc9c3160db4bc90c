"""Anchors against torchvision's, and against the paper's rule worked out by hand."""

import pytest
import torch
from torchvision.models.detection.anchor_utils import DefaultBoxGenerator
from torchvision.models.detection.image_list import ImageList

from mmnv3.errors import UserError
from mmnv3.models import SSDLiteAnchorGenerator

MAPS = [(20, 20), (10, 10), (5, 5), (3, 3), (2, 2), (1, 1)]


def anchors(generator: SSDLiteAnchorGenerator, maps: list = MAPS) -> torch.Tensor:
    return torch.cat(generator.grid_priors(maps, device='cpu'))


@pytest.mark.parametrize(('width', 'height'), [(320, 320), (512, 512), (480, 256)])
def test_torchvision_layout_equals_torchvision_row_by_row(
    width: int, height: int
) -> None:
    maps = [(-(-height // s), -(-width // s)) for s in (16, 32, 64, 128, 256, 512)]
    theirs = DefaultBoxGenerator([[2, 3]] * 6, min_ratio=0.2, max_ratio=0.95)
    images = ImageList(torch.zeros(1, 3, height, width), [(height, width)])
    expected = theirs(images, [torch.zeros(1, 1, *size) for size in maps])[0]
    generator = SSDLiteAnchorGenerator((width, height), layout='torchvision')
    found = anchors(generator, maps)
    assert found.shape == expected.shape
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-4)
    assert generator.num_base_priors == [6] * 6


def test_counts_of_the_two_layouts_at_320() -> None:
    assert len(anchors(SSDLiteAnchorGenerator())) == 2034
    assert len(anchors(SSDLiteAnchorGenerator(layout='torchvision'))) == 3234


def test_paper_level_0_by_hand() -> None:
    first = (
        SSDLiteAnchorGenerator().grid_priors(MAPS, device='cpu')[0].view(20, 20, 3, 4)
    )
    # The cell in row 9, column 4 is centred at (4.5 * 16, 9.5 * 16) = (72, 152): a
    # square of 0.1 * 320 = 32, then 0.2 * 320 = 64 with aspect 2 (90.51 x 45.25), 1/2.
    expected = torch.tensor(
        [
            [72 - 16, 152 - 16, 72 + 16, 152 + 16],
            [72 - 45.2548, 152 - 22.6274, 72 + 45.2548, 152 + 22.6274],
            [72 - 22.6274, 152 - 45.2548, 72 + 22.6274, 152 + 45.2548],
        ]
    )
    torch.testing.assert_close(first[9, 4], expected, rtol=0, atol=1e-3)
    # The first cell, at (8, 8), reaches out of the picture.
    corner = torch.tensor([8 - 16, 8 - 16, 8 + 16, 8 + 16.0])
    torch.testing.assert_close(first[0, 0, 0], corner, rtol=0, atol=1e-3)


def test_most_anchors_reach_outside_and_0_1_clipped_them() -> None:
    """938 of 2034, from -0.443 to 1.443 of the picture, in the original code's run."""
    found = anchors(SSDLiteAnchorGenerator())
    outside = ((found < 0) | (found > 320)).any(1)
    assert outside.sum() == 938
    assert found.min() / 320 == pytest.approx(-0.443, abs=1e-3)
    assert found.max() / 320 == pytest.approx(1.443, abs=1e-3)
    clipped = anchors(SSDLiteAnchorGenerator(clip=True))
    assert torch.equal(clipped, found.clamp(0, 320))


def test_paper_level_1_by_hand() -> None:
    second = SSDLiteAnchorGenerator().grid_priors(MAPS, device='cpu')[1]
    cell = second.view(10, 10, 6, 4)[5, 5]
    sizes = torch.stack((cell[:, 2] - cell[:, 0], cell[:, 3] - cell[:, 1]), 1)
    scale = 0.35 * 320
    expected = torch.tensor(
        [
            [scale, scale],
            [scale * 2**0.5, scale / 2**0.5],
            [scale / 2**0.5, scale * 2**0.5],
            [scale * 3**0.5, scale / 3**0.5],
            [scale * 0.3333**0.5, scale / 0.3333**0.5],
            [320 * (0.35 * 0.5) ** 0.5] * 2,
        ]
    )
    torch.testing.assert_close(sizes, expected, rtol=0, atol=1e-3)


def test_paper_layout_measures_by_the_shorter_side() -> None:
    generator = SSDLiteAnchorGenerator((640, 320))
    found = generator.single_level_grid_priors((20, 40), 0, device='cpu')
    square = found.view(20, 40, 3, 4)[10, 20, 0]
    torch.testing.assert_close(
        square, torch.tensor([328 - 16, 168 - 16, 328 + 16, 168 + 16.0])
    )


def test_wrong_options_say_what_is_possible() -> None:
    with pytest.raises(UserError, match='tensorflow, torchvision'):
        SSDLiteAnchorGenerator(layout='caffe')
    with pytest.raises(UserError, match='input_size'):
        SSDLiteAnchorGenerator(input_size=(320, 0))
    for size in ('320', None, 320.5, True, (320,), (320, True)):
        with pytest.raises(UserError, match=r'input_size=.* is no size'):
            SSDLiteAnchorGenerator(input_size=size)
    for options, said in (
        (dict(num_levels=1), 'num_levels=1 must be at least 2'),
        (dict(num_levels='6'), "num_levels='6' must be"),
        (dict(min_scale=0), 'min_scale=0 must be a positive number'),
        (dict(min_scale=0.96), r'min_scale=0\.96 .* at most 0\.95'),
        (dict(max_scale='1'), "max_scale='1' must be"),
    ):
        with pytest.raises(UserError, match=said):
            SSDLiteAnchorGenerator(**options)
    assert 'tensorflow' in repr(SSDLiteAnchorGenerator())
