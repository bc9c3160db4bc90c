"""A config that fits a converted checkpoint of TensorFlow's."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import Tensor

from mmnv3.convert.conversion import COCO_IDS, Converted, count_anchors
from mmnv3.convert.pipeline_config import PipelineSettings
from mmnv3.errors import UserError
from mmnv3.mim import PREFIX

# By task: the config that is inherited from, its head, and the head's layer whose rows
# tell the classes. `{size}` is large or small.
_BASES = {
    'detection': ('ssdlite_mnv3_{size}_coco_google.py', 'bbox_head'),
    'segmentation': ('lraspp_mnv3_{size}_cityscapes_google.py', 'decode_head'),
    'classification': ('mnv3_{size}_imagenet.py', 'head'),
}
# Of the config that is inherited from, pixels.
_SIZE = (320, 320)
# What COCO announced for the ids that it never used.
_UNUSED_NAMES = {
    12: 'street sign', 26: 'hat', 29: 'shoe', 30: 'eye glasses', 45: 'plate',
    66: 'mirror', 68: 'window', 69: 'desk', 71: 'door', 83: 'blender',
}  # fmt: skip


def write_fitting_config(
    converted: Converted,
    source: str,
    pipeline: PipelineSettings | None = None,
) -> str:
    """Writes the text of a config for a converted checkpoint.

    Args:
        converted: From TensorFlow's file.
        source: The file's name.
        pipeline: What a ``pipeline.config`` beside the file says.

    Raises:
        UserError: When the file is not TensorFlow's, or does not fit its
            ``pipeline.config``.
    """
    network = converted.network
    if network.form.project != 'tensorflow' or not isinstance(network.arch, str):
        raise UserError(
            f'{source} is of {network.form.project}: --config-out writes configs for '
            'files of tensorflow only; give a config with --config'
        )
    base, head = _BASES[network.form.task]
    base = base.format(size=network.arch.partition('_')[0])
    classes = _count(converted.state)
    changes: dict[str, dict[str, Any]] = {
        'backbone': dict(
            arch=network.arch,
            width=network.width,
            tail=network.tail,
            gate=network.form.gate,
        ),
        head: dict(num_classes=classes),
    }
    if head == 'head':
        changes[head]['loss'] = dict(num_classes=classes)
        changes['data_preprocessor'] = dict(num_classes=classes)
    if pipeline and head == 'bbox_head':
        _check_pipeline(pipeline, converted, source)
        changes['test_cfg'] = dict(
            nms=dict(type='nms', iou_threshold=pipeline.iou_threshold),
            score_thr=pipeline.score_threshold,
            max_per_img=pipeline.max_detections,
        )
    lines = [
        f'# For the checkpoint that was converted from {source!r}:',
        f'# {network}.',
        f'_base_ = [{PREFIX + base!r}]',
        '',
        'from mmnv3.arch import follow_backbone',
        '',
        'model = follow_backbone(',
        '    _base_.model,',
        *(f'    {part}={value!r},' for part, value in changes.items()),
        ')',
    ]
    if head == 'bbox_head' and classes == 90:
        lines += [
            '',
            '# The names of all ids of COCO, also of those that it never used.',
            'metainfo = dict(',
            f'    classes={coco_names()!r},',
            f'    unused={tuple(_UNUSED_NAMES.values())!r},',
            ')',
            *(
                f'{part}_dataloader = dict(dataset=dict(metainfo=metainfo))'
                for part in ('train', 'val', 'test')
            ),
            *(
                f"{part}_evaluator = dict(type='mmnv3.CocoMetricByName')"
                for part in ('val', 'test')
            ),
        ]
    return '\n'.join([*lines, ''])


def coco_names() -> tuple[str, ...]:
    """The names of COCO's ids 1 to 90."""
    from mmdet.datasets import CocoDataset

    names = {**dict(zip(COCO_IDS, CocoDataset.METAINFO['classes'])), **_UNUSED_NAMES}
    return tuple(names[number] for number in range(1, 91))


def _count(state: Mapping[str, Tensor]) -> int:
    """Classes of a converted head, without background."""
    if 'bbox_head.cls_convs.0.1.bias' in state:
        return len(state['bbox_head.cls_convs.0.1.bias']) // count_anchors(state, 0)
    key = 'head.fc.bias' if 'head.fc.bias' in state else 'decode_head.conv_seg.bias'
    return len(state[key])


def _check_pipeline(
    pipeline: PipelineSettings, converted: Converted, source: str
) -> None:
    given = (converted.network.num_classes or 1) - 1
    if pipeline.num_classes != given:
        raise UserError(
            f'{source} has {given} classes, and the pipeline.config beside it '
            f'{pipeline.num_classes}; they do not belong together'
        )
    if pipeline.size != _SIZE:
        raise UserError(
            f'{source} was made for pictures of {pipeline.size[0]}×{pipeline.size[1]} '
            f'by its pipeline.config, and --config-out writes configs for '
            f'{_SIZE[0]}×{_SIZE[1]} only; convert without it and set the sizes of '
            'anchor_generator and ResizeTF'
        )
