"""TensorFlow's standard metadata of ``.tflite`` files.

By them MediaPipe Tasks and Android Studio know what goes into a model and what its
outputs mean. They are a table of their own among the model's buffers, by the schema
``metadata_schema.fbs``, and name files that stand in a zip behind the model, as the
labels do. The tables are written here, since who publishes a writer of them pins other
versions of what LiteRT needs.
"""

from __future__ import annotations

import json
import zipfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from mmnv3.deploy.info import EXTRA_FILE, INPUT, PLAIN, ModelInfo
from mmnv3.optional import require
from mmnv3.tasks import SEGMENTATION

# The names that the readers look for, and the schemas' identifiers.
_METADATA, _METADATA_ID = 'TFLITE_METADATA', b'M001'
_SEGMENTER, _SEGMENTER_ID = 'SEGMENTER_METADATA', b'V001'
# The oldest reader that knows all fields that are written.
_READER = '1.5.0'
LABELS_FILE = 'labels.txt'

# Values of the schema's enumerations and unions.
_UNKNOWN, _RGB = map(np.uint8, (0, 1))
_NORMALIZATION, _IMAGE = map(np.uint8, (1, 2))
_NAMES_OF_AXIS, _NAMES_OF_VALUES = map(np.uint8, (2, 3))
_SIGMOID, _SOFTMAX = map(np.uint8, (1, 2))

# What the classes' names are of: a place along an output's last axis, or a value.
_LABELS = {
    'logits': _NAMES_OF_AXIS,
    'scores': _NAMES_OF_AXIS,
    'mask': _NAMES_OF_VALUES,
}
_TOLD = {
    'boxes': 'x1 y1 x2 y2 of every box, in pixels of the input',
    'scores': 'probability of every class',
    'logits': 'logit of every class',
    'mask': 'class of every pixel',
}


@dataclass(frozen=True)
class _Table:
    """A table of a schema.

    Attributes:
        fields: Values by their place in the schema, where a union takes two: text, a
            table, a tuple of tables, an array of numbers, or a number of its type in
            the schema.
    """

    fields: Mapping[int, Any]

    def pack(self, identifier: bytes) -> bytes:
        """The bytes of the table as the root of its schema."""
        builder = require('flatbuffers', 'litert').Builder()
        builder.Finish(self._write(builder), identifier)
        return bytes(builder.Output())

    def _write(self, builder: Any) -> int:
        # Parts stand before what points to them.
        parts = {place: _part(builder, part) for place, part in self.fields.items()}
        builder.StartObject(max(parts) + 1)
        for place, part in parts.items():
            write = {
                np.uint8: builder.PrependUint8Slot,
                np.uint32: builder.PrependUint32Slot,
            }.get(type(part), builder.PrependUOffsetTRelativeSlot)
            write(place, part, 0)
        return builder.EndObject()


def _part(builder: Any, value: Any) -> Any:
    """Where a field's value stands; a number itself."""
    if isinstance(value, _Table):
        return value._write(builder)
    if isinstance(value, str):
        return builder.CreateString(value)
    if isinstance(value, np.ndarray):
        return builder.CreateNumpyVector(value)
    if isinstance(value, tuple):
        places = [part._write(builder) for part in value]
        builder.StartVector(4, len(places), 4)
        for place in reversed(places):
            builder.PrependUOffsetTRelative(place)
        return builder.EndVector()
    return value


def write_tflite(model: bytes, info: ModelInfo, out: Path) -> None:
    """Writes a model with its descriptions: TensorFlow's, and our own.

    Args:
        model: A model without files behind it.
        info: What it takes and gives.
        out: File to write.
    """
    files = {EXTRA_FILE: json.dumps(info.to_strings())}
    if info.task != PLAIN:
        model = _with_metadata(model, info)
        # A line is a class, whatever its name holds.
        files[LABELS_FILE] = '\n'.join(' '.join(name.split()) for name in info.classes)
    out.write_bytes(model)
    # Readers take the members as they are: nothing is compressed.
    with zipfile.ZipFile(out, 'a', zipfile.ZIP_STORED) as archive:
        for name, content in files.items():
            archive.writestr(name, content)


def _with_metadata(content: bytes, info: ModelInfo) -> bytes:
    tools = require('ai_edge_litert.tools.flatbuffer_utils', 'litert')
    schema = require('ai_edge_litert.schema_py_generated', 'litert')
    model = tools.read_model_from_bytearray(bytearray(content))
    (graph,), (signature,) = model.subgraphs, model.signatureDefs
    names = {each.tensorIndex: _text(each.name) for each in signature.outputs}
    outputs = [names[index] for index in graph.outputs]
    packed = _metadata(info, outputs).pack(_METADATA_ID)
    buffer, entry = schema.BufferT(), schema.MetadataT()
    buffer.data = np.frombuffer(packed, np.uint8)
    entry.name, entry.buffer = _METADATA, len(model.buffers)
    model.buffers.append(buffer)
    others = [each for each in model.metadata or () if _text(each.name) != _METADATA]
    model.metadata = [*others, entry]
    return bytes(tools.convert_object_to_bytearray(model))


def _text(name: bytes | str) -> str:
    return name.decode() if isinstance(name, bytes) else name


def _metadata(info: ModelInfo, outputs: Sequence[str]) -> _Table:
    """The root table, of outputs in the model's own order."""
    graph = {2: (_input(info),), 3: tuple(_output(name) for name in outputs)}
    if info.task == SEGMENTATION and not info.postprocessed:
        way = _SOFTMAX if info.mask_threshold is None else _SIGMOID
        packed = _Table({0: way}).pack(_SEGMENTER_ID)
        graph[9] = (_Table({0: _SEGMENTER, 1: np.frombuffer(packed, np.uint8)}),)
    return _Table(
        {
            0: f'mmnv3 {info.task}',
            1: f'{info.task} of {len(info.classes)} classes, in {info.precision}',
            3: (_Table(graph),),
            7: _READER,
        }
    )


def _input(info: ModelInfo) -> _Table:
    """What goes in: pixels, or what they become by the mean and deviation."""
    size = _Table(dict(enumerate(map(np.uint32, info.size))))
    # There is no name for the other order of channels.
    order = _RGB if info.takes_pixels or info.channel_order == 'rgb' else _UNKNOWN
    content = _Table({0: _IMAGE, 1: _Table({0: order, 1: size})})
    fields: dict[int, Any] = {0: INPUT, 3: content}
    mean, std = (np.array(values, np.float32) for values in (info.mean, info.std))
    least, most = np.zeros(1, np.float32), np.full(1, 255, np.float32)
    if not info.takes_pixels:
        scales = _Table({0: mean, 1: std})
        fields[4] = (_Table({0: _NORMALIZATION, 1: scales}),)
        least, most = ((end - mean) / std for end in (least, most))
    told = 'RGB pixels' if info.takes_pixels else '(pixel - mean) / std'
    fields[1] = f'{told}, {"x".join(map(str, info.file_input))}'
    fields[5] = _Table({0: most, 1: least})
    return _Table(fields)


def _output(name: str) -> _Table:
    fields: dict[int, Any] = {0: name, 1: _TOLD[name]}
    if name in _LABELS:
        fields[6] = (_Table({0: LABELS_FILE, 2: _LABELS[name]}),)
    return _Table(fields)
