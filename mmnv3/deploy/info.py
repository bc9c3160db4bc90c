"""What the user of an exported file has to know, and the file carries with it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any

from mmnv3.errors import UserError
from mmnv3.resizing import (
    CenterCrop,
    ResizeEdge,
    Step,
    content_size,
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

# Where the description stands in OpenVINO's files, and in PyTorch's and LiteRT's.
# ONNX's have it among their properties.
RT_INFO = 'mmnv3'
EXTRA_FILE = 'mmnv3.json'

# Fields that files of 0.1 do not have.
_SINCE_0_2 = ('steps', 'clip_after_nms', 'align_corners', 'mask_threshold')


@dataclass(frozen=True)
class ModelInfo:
    """How to feed an exported model and what to make of its outputs.

    Attributes:
        task: ``'detection'``, ``'segmentation'``, ``'classification'`` or ``'plain'``.
        classes: Names of the classes, in the order of the outputs.
        input_shape: Shape of the input, (N, 3, H, W).
        mean: Per channel, of pixels from 0 to 255 in ``channel_order``.
        std: Per channel; the input is (pixels - mean) / std.
        channel_order: ``'rgb'`` or ``'bgr'``.
        steps: What brings a picture to the input's size, before and after it is
            normalised. By default it is stretched.
        palette: Colours of the classes, RGB from 0 to 255; may be empty.
        precision: ``'fp32'`` or ``'int8'``.
        postprocessed: Whether suppression, or the choice of the best class, is part
            of the file.
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

        The five about detections are None for other tasks.
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
        return (FINAL_OUTPUTS if self.postprocessed else OUTPUTS)[self.task]

    def is_stretched(self, picture: tuple[int, int]) -> bool:
        """Whether a picture of a size is stretched, since there are no steps."""
        return not self.steps and picture != self.size

    def content_size(self, picture: Size) -> Size:
        """The part of the input, from its top left, that a picture of a size fills."""
        return content_size(self.steps, picture) if self.steps else self.size

    def suppression(self, picture: Size) -> dict[str, Any]:
        """The settings of :func:`mmnv3.models.nms.progressive_nms` for a picture.

        Args:
            picture: The picture's size.
        """
        return dict(
            window=self.content_size(picture) if self.clip_after_nms else None,
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
            UserError: When fields are missing or are not JSON.
        """
        try:
            values = {
                field.name: _freeze(json.loads(strings[field.name]))
                for field in fields(cls)
                if field.name in strings or field.name not in _SINCE_0_2
            }
            if 'steps' in values:
                values['steps'] = tuple(map(step_from_dict, values['steps']))
            elif edge := json.loads(strings['resize_edge']):
                height, width = values['input_shape'][2:]
                values['steps'] = ResizeEdge(edge), CenterCrop(Size(width, height))
        except (KeyError, json.JSONDecodeError):
            raise UserError(
                f'{path} does not describe its model; files of tools/export.py do'
            ) from None
        return cls(**values)


def _freeze(value: Any) -> Any:
    """Makes tuples of lists, at every level."""
    return tuple(map(_freeze, value)) if isinstance(value, list) else value
