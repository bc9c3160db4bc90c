"""What the user of an exported file has to know, and the file carries with it."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields
from typing import Any

import numpy as np

from mmnv3.errors import UserError
from mmnv3.json_files import is_number
from mmnv3.resizing import (
    ResizeEdge,
    Step,
    content_size,
    has_whole_pixels,
    step_from_dict,
    step_to_dict,
)
from mmnv3.size import Size
from mmnv3.tasks import CLASSIFICATION, DETECTION, SEGMENTATION

# A network or a layer without a task, as it is timed.
PLAIN = 'plain'

# Names of the one input, and of a task's outputs before and after post-processing.
INPUT = 'image'
OUTPUTS = {
    DETECTION: ('boxes', 'scores'),
    SEGMENTATION: ('logits',),
    CLASSIFICATION: ('logits',),
    PLAIN: ('output',),
}
FINAL_OUTPUTS = {
    DETECTION: ('boxes', 'scores', 'labels'),
    SEGMENTATION: ('mask',),
    CLASSIFICATION: ('scores',),
}

# Those of a file that takes pictures as they are.
PICTURE_OUTPUTS = {
    **FINAL_OUTPUTS,
    CLASSIFICATION: ('scores', 'labels'),
}
# Classes that a classifier names of a picture, the best.
TOP = 5

# Where the description stands in OpenVINO's files, and in PyTorch's and LiteRT's.
# ONNX's have it among their properties.
RT_INFO = 'mmnv3'
EXTRA_FILE = 'mmnv3.json'

# A mask has a byte for each pixel.
_MASK_CLASSES = 256

# Of pixels from 0 to 255. It is divided by, in single precision.
_LEAST_STD = 1e-6

# What a model computes in. Of fp16 it is the weights that have 16 bits: the file has
# half the size, and runtimes compute in what suits the processor, 16 bits or 32.
PRECISIONS = ('fp32', 'bf16', 'fp16', 'int8')

# Fields that files of earlier releases do not have.
_LATER = (
    'steps',
    'clip_after_nms',
    'align_corners',
    'mask_threshold',
    'takes_pictures',
    'takes_pixels',
)


@dataclass(frozen=True)
class ModelInfo:
    """How to feed an exported model and what to make of its outputs.

    The five about detections are None for other tasks.

    Attributes:
        task: ``'detection'``, ``'segmentation'``, ``'classification'`` or ``'plain'``.
        classes: Names of the classes, in the order of the outputs.
        input_shape: Shape of the network's input, (N, 3, H, W).
        mean: Per channel, of pixels from 0 to 255 in ``channel_order``.
        std: Per channel; the input is (pixels - mean) / std.
        channel_order: ``'rgb'`` or ``'bgr'``.
        steps: What brings a picture to the input's size, before and after it is
            normalised. By default it is stretched.
        palette: Colours of the classes, RGB from 0 to 255; may be empty.
        precision: What it computes in, of :data:`PRECISIONS`.
        postprocessed: Whether suppression, or the choice of the best class, is part
            of the file.
        takes_pictures: Whether the input is a picture as it is, (H, W, 3) uint8 RGB
            of any size, so that all that is described here is part of the file, and
            its outputs are about that picture.
        takes_pixels: Whether the input is a picture that ``steps`` brought to its
            size, (N, H, W, 3) uint8 RGB, so that normalisation is part of the file.
        score_threshold: Detections score more than this.
        iou_threshold: A box is dropped when it overlaps a better one of its class by
            more than this.
        max_detections: Most detections of a picture.
        max_per_class: Most candidates of one class before suppression; -1 for no
            limit.
        clip_after_nms: Whether boxes are clipped to the picture after suppression,
            and not before; see :func:`mmnv3.models.nms.progressive_nms`.
        align_corners: How a segmenter's logits are interpolated where the picture has
            another size than the input. None, as in files of 0.1, takes the nearest
            class instead.
        mask_threshold: Of two classes that share one logit, the second is where its
            probability is more than this. None where every class has logits.
    """

    task: str
    classes: tuple[str, ...]
    input_shape: tuple[int, ...]
    mean: tuple[float, ...]
    std: tuple[float, ...]
    channel_order: str
    steps: tuple[Step, ...] = ()
    palette: tuple[tuple[int, ...], ...] = ()
    precision: str = 'fp32'
    postprocessed: bool = False
    takes_pictures: bool = False
    takes_pixels: bool = False
    score_threshold: float | None = None
    iou_threshold: float | None = None
    max_detections: int | None = None
    max_per_class: int | None = None
    clip_after_nms: bool | None = None
    align_corners: bool | None = None
    mask_threshold: float | None = None

    @property
    def size(self) -> Size:
        """Pixels of the input."""
        return Size(self.input_shape[3], self.input_shape[2])

    @property
    def batch(self) -> int:
        """Pictures of one call."""
        return self.input_shape[0]

    @property
    def outputs(self) -> tuple[str, ...]:
        """Names of the outputs."""
        if self.takes_pictures:
            return PICTURE_OUTPUTS[self.task]
        return (FINAL_OUTPUTS if self.postprocessed else OUTPUTS)[self.task]

    @property
    def file_input(self) -> tuple[int | str, ...]:
        """Shape of what goes into the file, with ``'?'`` for sides of any length."""
        return ('?', '?', 3) if self.takes_pictures else self.batch_shape

    @property
    def batch_shape(self) -> tuple[int, ...]:
        """Shape of what goes in; of any size it is a picture of the network's."""
        if self.takes_pictures:
            return *self.size[::-1], 3
        if self.takes_pixels:
            return self.batch, *self.size[::-1], 3
        return self.input_shape

    def empty_batch(self) -> np.ndarray:
        """Zeros of the shape, :attr:`batch_shape`, and the type that a model takes."""
        whole = self.takes_pictures or self.takes_pixels
        return np.zeros(self.batch_shape, np.uint8 if whole else np.float32)

    def is_stretched(self, picture: tuple[int, int]) -> bool:
        """Whether a picture of a size is stretched, since there are no steps."""
        return not self.steps and picture != self.size

    def content_size(self, picture: Size) -> Size:
        """The part of the input, from its top left, that a picture of a size fills."""
        return content_size(self.steps, picture) if self.steps else self.size

    @property
    def suppression(self) -> dict[str, Any]:
        """A detector's settings for :func:`mmnv3.models.nms.progressive_nms`."""
        return dict(
            window=self.size if self.clip_after_nms else None,
            iou_threshold=self.iou_threshold,
            score_threshold=self.score_threshold,
            max_num=self.max_detections,
            per_class=self.max_per_class,
        )

    def to_strings(self) -> dict[str, str]:
        """The fields as JSON, by name: what the file formats can hold."""
        values = {field.name: getattr(self, field.name) for field in fields(self)}
        values['steps'] = [step_to_dict(step) for step in self.steps]
        # What 0.1 reads in place of the steps.
        edges = [step.scale for step in self.steps if isinstance(step, ResizeEdge)]
        values['resize_edge'] = edges[0] if edges else None
        return {name: json.dumps(value) for name, value in values.items()}

    @classmethod
    def from_strings(cls, strings: Mapping[str, str], path: str) -> ModelInfo:
        """The inverse of :meth:`to_strings`.

        Args:
            strings: The fields; others are ignored.
            path: The file that they are from.

        Raises:
            UserError: When fields are missing, are not JSON or cannot be true.
        """
        try:
            values = {
                field.name: _freeze(json.loads(strings[field.name]))
                for field in fields(cls)
                if field.name in strings or field.name not in _LATER
            }
            edge = None if 'steps' in values else json.loads(strings['resize_edge'])
        except (KeyError, TypeError, ValueError, RecursionError):
            raise UserError(
                f'{path} does not describe its model; files of tools/export.py do'
            ) from None
        try:
            if edge is not None:
                steps = [{'type': 'ResizeEdge', 'scale': edge}]
                size = values['input_shape'][:1:-1]
                values['steps'] = (*steps, {'type': 'CenterCrop', 'size': size})
            given = values.get('steps', ())
            if not isinstance(given, tuple):
                raise UserError(f'steps={given!r} is no list')
            values['steps'] = tuple(map(step_from_dict, given))
            info = cls(**values)
            info._check()
        except UserError as error:
            raise UserError(
                f'{path}: its description is wrong ({error}); export the model again'
            ) from None
        return info

    def _check(self) -> None:
        """Looks whether the fields can be what they say, each and together.

        Raises:
            UserError: When not.
        """
        for name, fits in _FITS.items():
            value = getattr(self, name)
            if not fits(value):
                raise UserError(f'{name}={value!r} cannot be')
        if self.takes_pictures and not (self.postprocessed and self.batch == 1):
            raise UserError('what takes pictures takes one, and does all with it')
        if self.takes_pixels and (self.takes_pictures or self.task == PLAIN):
            raise UserError('what takes pixels takes those of prepared pictures')
        if self.takes_pixels and not has_whole_pixels(self.steps):
            raise UserError('what takes pixels takes whole numbers')
        if self.task == PLAIN:
            if self.postprocessed:
                raise UserError('a plain network has nothing to post-process')
            return
        channels = len(self.mean) == len(self.std) == 3
        if len(self.input_shape) != 4 or self.input_shape[1] != 3 or not channels:
            raise UserError(
                f'input_shape={self.input_shape}, mean={self.mean}, std={self.std} are '
                'of no picture of three channels'
            )
        if len(self.palette) not in (0, len(self.classes)) or not self.classes:
            raise UserError(
                f'there are {len(self.palette)} colours and {len(self.classes)} classes'
            )
        if self.task == SEGMENTATION and len(self.classes) > _MASK_CLASSES:
            raise UserError(
                f'a mask has at most {_MASK_CLASSES} classes, not {len(self.classes)}'
            )
        about = (
            self.score_threshold,
            self.iou_threshold,
            self.max_detections,
            self.max_per_class,
        )
        if self.task == DETECTION and None in about:
            raise UserError('a detector says how boxes are suppressed')


def _is_count(value: object) -> bool:
    return type(value) is int and value > 0


def _is_optional_number(value: object) -> bool:
    return value is None or is_number(value)


def _all(kind: Callable[[Any], bool]) -> Callable[[Any], bool]:
    return lambda value: isinstance(value, tuple) and all(map(kind, value))


def _is_colour(value: object) -> bool:
    return _all(lambda part: type(part) is int and 0 <= part < 256)(value) and (
        len(value) == 3  # type: ignore[arg-type]
    )


# What the fields may be, whatever the others are; `steps` are looked at as they are
# made.
_FITS: dict[str, Callable[[Any], bool]] = {
    'task': lambda value: isinstance(value, str) and value in OUTPUTS,
    'classes': _all(lambda name: isinstance(name, str)),
    'input_shape': _all(_is_count),
    'mean': _all(is_number),
    'std': _all(lambda number: is_number(number) and number >= _LEAST_STD),
    'channel_order': lambda value: value in ('rgb', 'bgr'),
    'palette': _all(_is_colour),
    'precision': lambda value: value in PRECISIONS,
    'postprocessed': lambda value: isinstance(value, bool),
    'takes_pictures': lambda value: isinstance(value, bool),
    'takes_pixels': lambda value: isinstance(value, bool),
    'score_threshold': _is_optional_number,
    'iou_threshold': _is_optional_number,
    'max_detections': lambda value: value is None or _is_count(value),
    'max_per_class': lambda value: value is None or type(value) is int,
    'clip_after_nms': lambda value: value is None or isinstance(value, bool),
    'align_corners': lambda value: value is None or isinstance(value, bool),
    'mask_threshold': _is_optional_number,
}


def _freeze(value: Any) -> Any:
    """Makes tuples of lists, at every level."""
    return tuple(map(_freeze, value)) if isinstance(value, list) else value
