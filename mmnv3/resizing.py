"""How a picture gets the size that a network takes.

Every step does to the pixel what OpenMMLab's transform of its name does, without
OpenMMLab: exported files carry their steps with them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import MISSING, asdict, dataclass
from dataclasses import fields as dataclass_fields
from typing import Any

import cv2
import numpy as np
from PIL import Image

from mmnv3.errors import UserError
from mmnv3.json_files import is_number
from mmnv3.size import Size

# No step of a file makes a longer side, in pixels; OpenCV's own functions stop there.
_LONGEST = 2**15 - 1

# Pictures whose sizes steps are tried on, to see whether they make them all alike.
_PROBES = (
    Size(640, 480),
    Size(480, 640),
    Size(500, 500),
    Size(2048, 100),
    Size(9, 900),
)

# mmcv's names, and TensorFlow 1's one way.
INTERPOLATIONS: dict[str, dict[str, Any]] = {
    'tensorflow': {'bilinear': None},
    'cv2': {
        'nearest': cv2.INTER_NEAREST,
        'bilinear': cv2.INTER_LINEAR,
        'bicubic': cv2.INTER_CUBIC,
        'area': cv2.INTER_AREA,
        'lanczos': cv2.INTER_LANCZOS4,
    },
    'pillow': {
        'nearest': Image.Resampling.NEAREST,
        'bilinear': Image.Resampling.BILINEAR,
        'bicubic': Image.Resampling.BICUBIC,
        'box': Image.Resampling.BOX,
        'lanczos': Image.Resampling.LANCZOS,
        'hamming': Image.Resampling.HAMMING,
    },
}


@dataclass(frozen=True)
class Resize:
    """Brings a picture to a size.

    Args:
        size: Pixels.
        keep_ratio: Whether the picture only grows or shrinks until its long side has
            the longer, or its short side the shorter number.
        interpolation: A name of :data:`INTERPOLATIONS`.
        backend: ``'cv2'``, ``'pillow'``, or ``'tensorflow'`` for
            :func:`resize_tf`, which gives float32.
    """

    size: Size
    keep_ratio: bool = False
    interpolation: str = 'bilinear'
    backend: str = 'cv2'

    def output_size(self, size: Size) -> Size:
        """What becomes of a picture's size, of whose sides none vanishes."""
        if not self.keep_ratio:
            return self.size
        factor = min(max(self.size) / max(size), min(self.size) / min(size))
        return Size(*(max(int(side * factor + 0.5), 1) for side in size))

    def __call__(self, picture: np.ndarray) -> np.ndarray:
        """Resizes a picture, (H, W, 3) uint8."""
        size = self.output_size(picture_size(picture))
        return _resize(picture, size, self.interpolation, self.backend)


@dataclass(frozen=True)
class ResizeEdge:
    """Brings one side of a picture to a length; the other follows.

    Args:
        scale: Pixels.
        edge: ``'short'``, ``'long'``, ``'width'`` or ``'height'``.
        interpolation: See :class:`Resize`.
        backend: See :class:`Resize`.
    """

    scale: int
    edge: str = 'short'
    interpolation: str = 'bilinear'
    backend: str = 'cv2'

    def output_size(self, size: Size) -> Size:
        """What becomes of a picture's size, of whose sides none vanishes."""
        width, height = size
        if (
            self.edge == 'width'
            or (self.edge == 'short' and width < height)
            or (self.edge == 'long' and width > height)
        ):
            return Size(self.scale, max(int(self.scale * height / width), 1))
        return Size(max(int(self.scale * width / height), 1), self.scale)

    def __call__(self, picture: np.ndarray) -> np.ndarray:
        """Resizes a picture, (H, W, 3) uint8."""
        size = self.output_size(picture_size(picture))
        return _resize(picture, size, self.interpolation, self.backend)


@dataclass(frozen=True)
class CenterCrop:
    """Cuts the middle out of a picture, or what there is of it.

    Args:
        size: Pixels.
    """

    size: Size

    def output_size(self, size: Size) -> Size:
        """What becomes of a picture's size."""
        return Size(*map(min, size, self.size))

    def __call__(self, picture: np.ndarray) -> np.ndarray:
        """Cuts a picture, (H, W, 3)."""
        given = picture_size(picture)
        width, height = self.output_size(given)
        left = round((given.width - width) / 2)
        top = round((given.height - height) / 2)
        return picture[top : top + height, left : left + width]


@dataclass(frozen=True)
class Pad:
    """Adds pixels on the right and at the bottom.

    Args:
        size: Pixels; larger pictures stay. None where they are padded otherwise.
        divisor: What sides shall be multiples of.
        square: Whether the shorter side becomes as long as the other, at first.
        value: The new pixels' value, one for each channel.
        normalized: Whether the value is put in after the picture was normalised.
    """

    size: Size | None = None
    divisor: int = 1
    square: bool = False
    value: tuple[float, ...] = (0, 0, 0)
    normalized: bool = False

    def output_size(self, size: Size) -> Size:
        """What becomes of a picture's size."""
        if self.square:
            size = Size(max(size), max(size))
        if self.size:
            size = Size(*map(max, size, self.size))
        return Size(*(-(-side // self.divisor) * self.divisor for side in size))

    def __call__(self, picture: np.ndarray) -> np.ndarray:
        """Pads a picture, (H, W, 3)."""
        given = picture_size(picture)
        width, height = self.output_size(given)
        return cv2.copyMakeBorder(
            picture,
            0,
            height - given.height,
            0,
            width - given.width,
            cv2.BORDER_CONSTANT,
            value=self.value,
        )


Step = Resize | ResizeEdge | CenterCrop | Pad
_STEPS: dict[str, type] = {
    kind.__name__: kind for kind in (Resize, ResizeEdge, CenterCrop, Pad)
}


def output_size(steps: Iterable[Step], size: Size) -> Size:
    """The size that steps bring a picture of a size to."""
    for step in steps:
        size = step.output_size(size)
    return size


def content_size(steps: Iterable[Step], size: Size) -> Size:
    """The size that a picture itself has among what steps pad it with."""
    return output_size((step for step in steps if not isinstance(step, Pad)), size)


def has_whole_pixels(steps: Iterable[Step]) -> bool:
    """Whether steps leave whole numbers, all before a picture is normalised."""
    return not any(
        step.normalized
        if isinstance(step, Pad)
        else getattr(step, 'backend', 'cv2') == 'tensorflow'
        for step in steps
    )


def common_size(steps: Sequence[Step]) -> Size | None:
    """The size that steps bring all pictures to, or None."""
    if steps and all(isinstance(step, Pad) and step.size for step in steps):
        # Larger pictures do not fit.
        return output_size(steps, Size(1, 1))
    sizes = {output_size(steps, size) for size in _PROBES}
    return sizes.pop() if len(sizes) == 1 else None


def step_to_dict(step: Step) -> dict[str, Any]:
    """A step as JSON has it, with its ``type``."""
    return {'type': type(step).__name__, **asdict(step)}


def step_from_dict(fields: Mapping[str, Any]) -> Step:
    """The inverse of :func:`step_to_dict`.

    Raises:
        UserError: When there is no such step, or when it has no such setting or value.
    """
    values = dict(fields) if isinstance(fields, Mapping) else {}
    kind = _STEPS.get(str(values.pop('type', None)))
    if kind is None:
        raise UserError(f'{fields!r} is no step; possible: {", ".join(_STEPS)}')
    known = {field.name: field.default for field in dataclass_fields(kind)}
    for name, value in values.items():
        usual = known.get(name, MISSING)
        fits = name in known and _FITS[name](value)
        # Only what has no size by default may have none.
        if not fits and not (value is None and usual is None):
            raise UserError(f'{kind.__name__} has no {name}={value!r}')
    missing = [n for n, usual in known.items() if usual is MISSING and n not in values]
    if missing:
        raise UserError(f'{kind.__name__} lacks {", ".join(missing)}')
    for name, convert in (('size', lambda value: Size(*value)), ('value', tuple)):
        if values.get(name):
            values[name] = convert(values[name])
    step = kind(**values)
    backend = getattr(step, 'backend', 'cv2')
    how = getattr(step, 'interpolation', 'bilinear')
    if how not in INTERPOLATIONS.get(backend, ()):
        raise UserError(f'{backend} has no interpolation {how!r}')
    return step


def _is_side(value: object) -> bool:
    return type(value) is int and 0 < value <= _LONGEST


# What the fields of steps may be in JSON.
_FITS: dict[str, Callable[[Any], bool]] = {
    'size': lambda value: (
        isinstance(value, (list, tuple))
        and len(value) == 2
        and all(map(_is_side, value))
    ),
    'scale': _is_side,
    'divisor': _is_side,
    'edge': lambda value: value in ('short', 'long', 'width', 'height'),
    'interpolation': lambda value: isinstance(value, str),
    'backend': lambda value: isinstance(value, str),
    'keep_ratio': lambda value: isinstance(value, bool),
    'square': lambda value: isinstance(value, bool),
    'normalized': lambda value: isinstance(value, bool),
    'value': lambda value: (
        isinstance(value, (list, tuple))
        and len(value) == 3
        and all(map(is_number, value))
    ),
}


def picture_size(picture: np.ndarray) -> Size:
    """The size of a picture, (H, W, …)."""
    return Size(picture.shape[1], picture.shape[0])


def _resize(
    picture: np.ndarray, size: Size, interpolation: str, backend: str
) -> np.ndarray:
    if picture_size(picture) == size:
        return picture
    if backend == 'tensorflow':
        return resize_tf(picture, size)
    how = INTERPOLATIONS[backend][interpolation]
    if backend == 'pillow':
        return np.asarray(Image.fromarray(picture).resize(size, how))
    return cv2.resize(picture, size, interpolation=how)


def resize_tf(picture: np.ndarray, size: Size) -> np.ndarray:
    """Resizes as TensorFlow 1's ``ResizeBilinear`` does by default.

    Output pixel i is read at i · (input / output), without the shift of half a pixel
    that others have and without antialiasing (``align_corners`` and
    ``half_pixel_centers`` false). So all Object Detection API networks of that time saw
    their pictures.

    Args:
        picture: (H, W, C) uint8 or float32.
        size: Pixels.

    Returns:
        (height, width, C) float32, unrounded.
    """
    given = picture_size(picture)
    (left, right, across), (top, bottom, down) = (
        _neighbours(old, new) for old, new in zip(given, size)
    )
    across, down = across[:, None], down[:, None, None]
    above, below = picture[top], picture[bottom]

    def between(row: np.ndarray) -> np.ndarray:
        first = row[:, left].astype(np.float32)
        return first + (row[:, right] - first) * across

    upper = between(above)
    return upper + (between(below) - upper) * down


def _neighbours(old: int, new: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The pixels that each new one lies between, and how far it is from the first."""
    places = np.arange(new, dtype=np.float32) * np.float32(old / new)
    first = places.astype(np.int64)
    return first, np.minimum(first + 1, old - 1), places - first.astype(np.float32)
