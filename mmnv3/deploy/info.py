"""What the user of an exported file has to know, and the file carries with it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from mmnv3.errors import UserError
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
        resize_edge: Pixels that the short side of a picture is brought to before the
            input is cut out of its middle. By default a picture is stretched.
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

        The last four are None for other tasks than detection.
    """

    task: str
    classes: tuple[str, ...]
    input_shape: tuple[int, int, int, int]
    mean: tuple[float, ...]
    std: tuple[float, ...]
    channel_order: str
    resize_edge: int | None = None
    palette: tuple[tuple[int, int, int], ...] = ()
    precision: str = 'fp32'
    postprocessed: bool = False
    score_threshold: float | None = None
    iou_threshold: float | None = None
    max_detections: int | None = None
    max_per_class: int | None = None

    @property
    def size(self) -> tuple[int, int]:
        """Pixels of the input, (width, height)."""
        return self.input_shape[3], self.input_shape[2]

    @property
    def batch(self) -> int:
        """Pictures of one call."""
        return self.input_shape[0]

    @property
    def outputs(self) -> tuple[str, ...]:
        """Names of the outputs."""
        return (FINAL_OUTPUTS if self.postprocessed else OUTPUTS)[self.task]

    def to_strings(self) -> dict[str, str]:
        """The fields as JSON, by name: what the file formats can hold."""
        return {name: json.dumps(value) for name, value in asdict(self).items()}

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
                name: json.loads(strings[name]) for name in cls.__dataclass_fields__
            }
        except (KeyError, json.JSONDecodeError):
            raise UserError(
                f'{path} does not describe its model; files of tools/export.py do'
            ) from None
        return cls(**{name: _freeze(value) for name, value in values.items()})


def _freeze(value: Any) -> Any:
    """Makes tuples of lists, at every level."""
    return tuple(map(_freeze, value)) if isinstance(value, list) else value
