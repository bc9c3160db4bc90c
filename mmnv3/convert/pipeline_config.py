"""The settings of the Object Detection API's ``pipeline.config`` that matter here."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from mmnv3.errors import UserError

# The part of the API's messages that is read, fields by kind and default (the
# messages are pipeline, model, ssd, image_resizer, post_processing .proto); a text does
# not show the fields' numbers.
_MESSAGES: dict[str, dict[str, tuple[str, str]]] = {
    'Pipeline': {'model': ('Model', '')},
    'Model': {'ssd': ('Ssd', '')},
    'Ssd': {
        'num_classes': ('int32', ''),
        'image_resizer': ('Resizer', ''),
        'post_processing': ('PostProcessing', ''),
    },
    'Resizer': {'fixed_shape_resizer': ('Shape', '')},
    'Shape': {'height': ('int32', '300'), 'width': ('int32', '300')},
    'PostProcessing': {
        'batch_non_max_suppression': ('Suppression', ''),
        'score_converter': ('Converter', ''),
    },
    'Suppression': {
        'score_threshold': ('float', '0'),
        'iou_threshold': ('float', '0.6'),
        'max_detections_per_class': ('int32', '100'),
        'max_total_detections': ('int32', '100'),
    },
}
_CONVERTERS = ('IDENTITY', 'SIGMOID', 'SOFTMAX')


@dataclass(frozen=True)
class PipelineSettings:
    """What a ``pipeline.config`` says of a detector.

    Args:
        num_classes: Classes, without background.
        size: The input, (height, width), pixels.
        score_threshold: Below which nothing is found.
        iou_threshold: Of the suppression in each class.
        max_detections: Boxes kept in a picture.
    """

    num_classes: int
    size: tuple[int, int]
    score_threshold: float
    iou_threshold: float
    max_detections: int


def parse_pipeline(text: str, name: str) -> PipelineSettings:
    """Reads the settings, in protobuf's text format.

    Args:
        text: The file's text.
        name: Its name, for errors.

    Raises:
        UserError: When it is damaged, of another kind of detector, or asks for what
            has no counterpart here.
    """
    from google.protobuf import text_format

    message = _message_class()()
    try:
        text_format.Parse(text, message, allow_unknown_field=True)
    except text_format.ParseError as error:
        raise UserError(f'{name} cannot be read ({error})') from None
    ssd = message.model.ssd
    if not ssd.HasField('post_processing') or not ssd.num_classes:
        raise UserError(f'{name} does not describe an SSD; remove it if it is another')
    if ssd.post_processing.score_converter != _CONVERTERS.index('SIGMOID'):
        found = _CONVERTERS[ssd.post_processing.score_converter]
        raise UserError(
            f'{name}: score_converter is {found}, and only SIGMOID is known here'
        )
    if not ssd.image_resizer.HasField('fixed_shape_resizer'):
        raise UserError(f'{name}: only a fixed_shape_resizer is known here')
    suppression = ssd.post_processing.batch_non_max_suppression
    most = suppression.max_total_detections
    if suppression.max_detections_per_class < most:
        raise UserError(
            f'{name}: max_detections_per_class below max_total_detections ({most}) has '
            'no counterpart here; raise it'
        )
    shape = ssd.image_resizer.fixed_shape_resizer
    return PipelineSettings(
        ssd.num_classes,
        (shape.height, shape.width),
        # They are float32; seven digits are what the file says.
        float(f'{suppression.score_threshold:.7g}'),
        float(f'{suppression.iou_threshold:.7g}'),
        most,
    )


def _message_class() -> Any:
    """The class of the whole file, made of the table."""
    from google.protobuf import descriptor_pb2, descriptor_pool, message_factory

    package = 'mmnv3.pipeline'
    file = descriptor_pb2.FileDescriptorProto(
        name='mmnv3/pipeline.proto', package=package, syntax='proto2'
    )
    converter = file.enum_type.add(name='Converter')
    for number, name in enumerate(_CONVERTERS):
        converter.value.add(name=name, number=number)
    kind = descriptor_pb2.FieldDescriptorProto
    scalars = {'int32': kind.TYPE_INT32, 'float': kind.TYPE_FLOAT}
    for message, fields in _MESSAGES.items():
        described = file.message_type.add(name=message)
        for number, (name, (of, default)) in enumerate(fields.items(), 1):
            field = described.field.add(
                name=name, number=number, label=kind.LABEL_OPTIONAL
            )
            if of in scalars:
                field.type = scalars[of]
            else:
                field.type = kind.TYPE_ENUM if of == 'Converter' else kind.TYPE_MESSAGE
                field.type_name = f'.{package}.{of}'
            if default:
                field.default_value = default
    pool = descriptor_pool.DescriptorPool()
    pool.Add(file)
    found = pool.FindMessageTypeByName(f'{package}.Pipeline')
    return message_factory.GetMessageClass(found)
