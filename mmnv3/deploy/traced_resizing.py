"""The steps of :mod:`mmnv3.resizing` in operations that a graph can hold.

A picture of any size comes in, and one of a known size goes out. So a step is a rule
that says where in the picture every pixel of the outcome lies: the sides of the picture
are numbers that only a run knows, and everything else has a shape that is known before.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from mmnv3.errors import UserError
from mmnv3.resizing import CenterCrop, Pad, Resize, ResizeEdge, Step, common_size
from mmnv3.size import Size

# Pixels of a side: int64 without axes where it depends on the picture.
Length = int | Tensor

# What cv2 multiplies weights with, to add pixels in whole numbers.
_ONE = 2**11


@dataclass(frozen=True)
class Side:
    """Where the pixels of an outcome lie along one side of a picture.

    Attributes:
        given: Pixels of the picture.
        resized: Pixels that it is resized to.
        first: The first of these that is kept.
        kept: How many are.
        count: Pixels of the outcome, which may be padded.
    """

    given: Length
    resized: Length
    first: Length
    kept: Length
    count: int

    @property
    def places(self) -> Tensor:
        """Which of the resized pixels each one is, (count,) int64."""
        return torch.arange(self.count) + self.first

    def within(self, places: Tensor) -> Tensor:
        """Places, (count,) int64, or the picture's pixels that are next to them."""
        return places.clamp(min=0).minimum(_tensor(self.given) - 1)


@dataclass(frozen=True)
class TracedSteps:
    """Steps of a test pipeline.

    Attributes:
        resize: What gives a picture its size.
        crop: What is then cut out of it.
        pad: What is added to that.
        size: Pixels of the outcome.
    """

    resize: Resize | ResizeEdge
    crop: CenterCrop | None
    pad: Pad | None
    size: Size

    @classmethod
    def of(cls, steps: Sequence[Step], size: Size) -> TracedSteps:
        """Takes steps apart.

        Args:
            steps: In their order; for none a picture is stretched.
            size: What they bring pictures to.

        Raises:
            UserError: When a graph cannot do them for every picture.
        """
        steps = steps or (Resize(size),)
        resize, *after = steps
        crop = next((step for step in after if isinstance(step, CenterCrop)), None)
        pad = next((step for step in after if isinstance(step, Pad)), None)
        ordered = [step for step in (crop, pad) if step] == after
        if not isinstance(resize, (Resize, ResizeEdge)) or not ordered:
            names = ', '.join(type(step).__name__ for step in steps)
            raise UserError(
                f'the test pipeline does {names}, and a file can resize, then cut out '
                'the middle, then pad; leave preprocessing out'
            )
        if (resize.backend, resize.interpolation) not in _RESIZERS:
            known = ', '.join(' '.join(way) for way in _RESIZERS)
            raise UserError(
                f'the test pipeline resizes by {resize.backend} '
                f'{resize.interpolation}, and a file can by {known}; leave '
                'preprocessing out'
            )
        if common_size(steps) != size:
            raise UserError(
                'the test pipeline brings pictures to different sizes, and the file '
                f'takes {size}; give Resize keep_ratio=False, or leave preprocessing '
                'out'
            )
        return cls(resize, crop, pad, size)

    def sides(self, image: Tensor) -> tuple[Side, Side]:
        """How width and height of a picture, (H, W, 3), become the outcome's."""
        given = tuple(
            torch.scalar_tensor(length, dtype=torch.long)
            for length in (image.shape[1], image.shape[0])
        )
        resized = _resized(self.resize, *given)
        first: tuple[Length, ...] = 0, 0
        kept: tuple[Length, ...] = resized
        if self.crop:
            kept = tuple(map(_least, resized, self.crop.size))
            # Halves are rounded to even numbers, as Python does.
            first = tuple(
                ((_tensor(whole) - part).float() / 2).round().long()
                for whole, part in zip(resized, kept)
            )
        across, down = map(Side, given, resized, first, kept, self.size)
        return across, down

    def __call__(self, image: Tensor, across: Side, down: Side) -> Tensor:
        """Resizes a picture, (H, W, 3) uint8, and cuts it.

        Returns:
            Pixels from 0 to 255, (height, width, 3) float32 of the outcome; whatever
            is padded repeats the last one.
        """
        resizer = _RESIZERS[self.resize.backend, self.resize.interpolation]
        return resizer(image, across, down)

    def padding(self, across: Side, down: Side) -> Tensor:
        """Where the outcome is padded, (height, width, 1) bool."""
        right, below = (
            torch.arange(side.count) >= side.kept for side in (across, down)
        )
        return (below[:, None] | right)[..., None]


def _resized(
    step: Resize | ResizeEdge, width: Tensor, height: Tensor
) -> tuple[Length, Length]:
    """What :meth:`mmnv3.resizing.Resize.output_size` says, of sides in a graph."""
    if isinstance(step, ResizeEdge):
        by_width = {
            'width': torch.tensor(True),
            'height': torch.tensor(False),
            'short': width < height,
            'long': width > height,
        }[step.edge]
        scale = step.scale
        return (
            torch.where(by_width, scale, (scale * width // height).clamp(min=1)),
            torch.where(by_width, (scale * height // width).clamp(min=1), scale),
        )
    if not step.keep_ratio:
        return step.size
    # In double precision, where Python rounds.
    sides = torch.stack([width, height]).double()
    factor = torch.minimum(max(step.size) / sides.max(), min(step.size) / sides.min())
    new_width, new_height = (sides * factor + 0.5).long().clamp(min=1).unbind()
    return new_width, new_height


def _tensor(length: Length) -> Tensor:
    return torch.as_tensor(length)


def _least(length: Length, limit: int) -> Length:
    if isinstance(length, int):
        return min(length, limit)
    return length.clamp(max=limit)


def _resize_cv2(image: Tensor, across: Side, down: Side) -> Tensor:
    """As cv2 does with ``INTER_LINEAR``, to the level.

    It counts in whole numbers and drops what is below them in between. In single
    precision one of some 100 000 products is too long, and a pixel a level too high.
    """
    left, right, near, far = _cv2_neighbours(across, clamps=True)
    above, below, upper, lower = _cv2_neighbours(down, clamps=False)
    # Weights of every channel, as operations on long rows take less time.
    near, far = ((weight / 16).repeat_interleave(3) for weight in (near, far))

    def row(places: Tensor, weights: Tensor) -> Tensor:
        taken = image.index_select(0, places)
        first, second = (
            taken.index_select(1, index).view(down.count, -1).float()
            for index in (left, right)
        )
        total = (first * near + second * far).floor()
        return (total * (weights / 2**16)[:, None]).floor()

    found = ((row(above, upper) + row(below, lower) + 2) / 4).floor()
    return found.view(down.count, across.count, 3)


def _cv2_neighbours(side: Side, clamps: bool) -> tuple[Tensor, ...]:
    """The pixels that each new one lies between, and 2048 times their weights.

    Args:
        side: The side.
        clamps: Whether the last pixel gets all the weight where there is none behind
            it. cv2 does so along rows; along columns it takes the last one twice.
    """
    # Pixel i of n lies at ((2 i + 1) m - n) / 2 n among m. Whole numbers are divided,
    # since OpenVINO multiplies others with a rounded 1 / 2 n.
    count = 2 * side.resized
    places = (2 * side.places + 1) * side.given + side.resized
    low = places // count - 1
    rest = (places % count).float() / _tensor(count).float()
    # With no more digits than cv2 has for the place.
    part = (low.float() + rest) - low.float()
    if clamps:
        part = part.masked_fill((low < 0) | (low >= _tensor(side.given) - 1), 0)
    weights = (((1 - part) * _ONE).round(), (part * _ONE).round())
    return side.within(low), side.within(low + 1), *weights


def _resize_tensorflow(image: Tensor, across: Side, down: Side) -> Tensor:
    """As :func:`mmnv3.resizing.resize_tf`."""
    left, right, part = _tensorflow_neighbours(across)
    above, below, lower = _tensorflow_neighbours(down)
    part = part.repeat_interleave(3)

    def row(places: Tensor) -> Tensor:
        taken = image.index_select(0, places)
        first, second = (
            taken.index_select(1, index).view(down.count, -1).float()
            for index in (left, right)
        )
        return first + (second - first) * part

    upper = row(above)
    found = upper + (row(below) - upper) * lower[:, None]
    return found.view(down.count, across.count, 3)


def _tensorflow_neighbours(side: Side) -> tuple[Tensor, Tensor, Tensor]:
    """The pixels that each new one lies between, and how far it is from the first."""
    scale = _tensor(side.given).float() / _tensor(side.resized).float()
    places = side.places.float() * scale
    low = places.floor()
    return side.within(low.long()), side.within(low.long() + 1), places - low


# By backend and interpolation of a step.
_RESIZERS: dict[tuple[str, str], Callable[[Tensor, Side, Side], Tensor]] = {
    ('cv2', 'bilinear'): _resize_cv2,
    ('tensorflow', 'bilinear'): _resize_tensorflow,
}
