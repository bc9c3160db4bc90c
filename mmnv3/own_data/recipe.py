"""How long to train, and the text of a config that does."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from mmnv3.cpu import usable_cores
from mmnv3.datasets.layouts.files import dataset_settings
from mmnv3.datasets.layouts.samples import ANNOTATIONS, OwnData
from mmnv3.deploy.drawing import distinct_colours
from mmnv3.errors import UserError
from mmnv3.mim import PREFIX
from mmnv3.own_data.weights import Weights
from mmnv3.size import Size
from mmnv3.tasks import CLASSIFICATION, DETECTION, SEGMENTATION

# Pictures of an iteration, and the learning rate for as many, from our own configs.
_BATCH = {DETECTION: 16, SEGMENTATION: 8, CLASSIFICATION: 32}
_RATE = 0.05
_WORKERS = 4
# Small sets gain nothing from more: BCCD's config has 234.
_MOST_EPOCHS = 300
_VALIDATIONS = 6
# Characters of a line.
_LINE = 88
# Of a training step's time for as many pictures: a third is the forward pass.
_VALIDATION_COST = 1 / 3
_IMAGENET_MEAN, _IMAGENET_STD = (123.675, 116.28, 103.53), (58.395, 57.12, 57.375)
_TAPS = {'large': 'block6.depthwise', 'small': 'block3.depthwise'}
TAILS: dict[str, str | None] = {
    DETECTION: 'detection',
    SEGMENTATION: 'segmentation',
    CLASSIFICATION: None,
}


@dataclass(frozen=True)
class Recipe:
    """What a config says beyond its data.

    Attributes:
        network: ``'small'`` or ``'large'``.
        size: Of the input.
        min_scale: Of a detector's anchors; the paper's for None.
        weights: To start from; from scratch for None.
        batch: Pictures of an iteration.
        workers: Data-loading processes.
        iterations: How long to train.
        why: Sentences for the config: of the size, and of the iterations.
        crop_overlaps: What a detector's crops may be asked to overlap every box by.
    """

    network: str
    size: Size
    min_scale: float | None
    weights: Weights | None
    batch: int
    workers: int
    iterations: int
    why: tuple[str, str] = ('', '')
    crop_overlaps: tuple[float, ...] = ()


def choose_batch(data: OwnData) -> int:
    """Chooses how many pictures an iteration has; no more than there are."""
    return min(_BATCH[data.task], len(data.train))


def count_workers() -> int:
    """Chooses how many processes load data here."""
    return min(_WORKERS, usable_cores())


def choose_iterations(
    data: OwnData, batch: int, minutes: float, seconds: float
) -> tuple[int, str]:
    """Chooses how long to train by the time that there is, and by the pictures.

    Args:
        data: The data.
        batch: Pictures of an iteration.
        minutes: That training may take, with its validations.
        seconds: That an iteration takes.

    Returns:
        The iterations, whole epochs for a classifier, and a sentence that says why.

    Raises:
        UserError: When not every picture can be trained on once.
    """
    epoch = _iterations_per_epoch(data, batch)
    validating = _VALIDATIONS * _VALIDATION_COST * len(data.val) / batch * seconds
    affordable = int((minutes * 60 - validating) / seconds)
    if affordable < epoch:
        needed = math.ceil(10 * (epoch * seconds + validating) / 60) / 10
        raise UserError(
            f'--minutes {minutes:g} is too short for one epoch: an iteration takes '
            f'{seconds:.2f} s here, and {len(data.train)} pictures need {epoch} of '
            f'{batch}; give --minutes {needed:g} or more'
        )
    iterations = min(affordable, _MOST_EPOCHS * epoch)
    if data.task == CLASSIFICATION:
        iterations = iterations // epoch * epoch
    took = (iterations * seconds + validating) / 60
    reason = (
        f'{iterations * batch / len(data.train):.0f} times every picture; about '
        f'{took:.0f} minutes at {seconds:.2f} s an iteration, measured here.'
    )
    return iterations, reason


def _iterations_per_epoch(data: OwnData, batch: int) -> int:
    # A classifier's loader drops a last batch that is not full.
    count = len(data.train) / batch
    return max(1, int(count) if data.task == CLASSIFICATION else math.ceil(count))


def config_text(
    data: OwnData,
    recipe: Recipe,
    annotations: str = ANNOTATIONS,
) -> str:
    """Writes a config.

    Args:
        data: The data.
        recipe: The rest.
        annotations: Folder of the files that were written of the data.
    """
    layout = (
        f'{data.count_classes()}, {len(data.train)} pictures to train on, '
        f'{len(data.val)} to validate'
    )
    head = [
        f'"""{layout}; {data.layout}.',
        '',
        'Written by mmnv3.',
        '"""',
        '',
        '_base_ = [',
        *(f'    {f"{PREFIX}_base_/{base}.py"!r},' for base in _bases(data, recipe)),
        ']',
        '',
        'from mmnv3.arch import follow_backbone',
        '',
        f'data_root = {f"{data.root.resolve()}/"!r}',
        *_metainfo(data),
        *(f'# {line}' for line in _wrapped(recipe.why[0])),
        f'input_size = {tuple(recipe.size)}',
        *(_crops(recipe) if data.task == DETECTION else []),
        *(f'# {line}' for line in _wrapped(recipe.why[1])),
        *_LENGTH[data.task](data, recipe),
        '',
    ]
    sections = [
        _assign('model', _model(data, recipe), call='follow_backbone'),
        *_hooks(recipe),
        *_PIPELINES[data.task],
        *_loaders(data, recipe, annotations),
        *_schedule(data, recipe),
    ]
    return '\n'.join([*head, *sections]) + '\n'


def _crops(recipe: Recipe) -> list[str]:
    why = (
        'What a crop may be asked to overlap every box by.'
        if recipe.crop_overlaps
        else 'Most pictures have a box that no crop overlaps by a tenth.'
    )
    return [f'# {why}', f'crop_overlaps = {recipe.crop_overlaps}']


def _wrapped(text: str, width: int = 84) -> list[str]:
    lines: list[str] = []
    for word in text.split():
        if lines and len(lines[-1]) + 1 + len(word) <= width:
            lines[-1] += f' {word}'
        else:
            lines.append(word)
    return lines


class _Name(str):
    """A name of the config itself, that is written without quotes."""

    __slots__ = ()

    def __repr__(self) -> str:
        return str(self)


def _write(value: Any, indent: int, lead: int = 0) -> str:
    """Python for a value; what is longer than a line has an item a line.

    Args:
        value: The value.
        indent: Spaces before its line.
        lead: Characters before it in the line, after them.
    """
    flat = _flat(value)
    fits = indent + lead + len(flat) + 1 <= _LINE
    if fits or not isinstance(value, (Mapping, list, tuple)):
        return flat
    inside = indent + 4
    if isinstance(value, Mapping):
        items = [f'{k}={_write(v, inside, len(k) + 1)}' for k, v in value.items()]
        opening, closing = 'dict(', ')'
    else:
        items = [_write(item, inside) for item in value]
        opening, closing = ('[', ']') if isinstance(value, list) else ('(', ')')
    lines = ''.join(f'{" " * inside}{item},\n' for item in items)
    return f'{opening}\n{lines}{" " * indent}{closing}'


def _flat(value: Any) -> str:
    if isinstance(value, Mapping):
        inside = ', '.join(f'{key}={_flat(item)}' for key, item in value.items())
        return f'dict({inside})'
    if isinstance(value, list):
        return f'[{", ".join(map(_flat, value))}]'
    if isinstance(value, tuple):
        return f'({", ".join(map(_flat, value))}{"," * (len(value) == 1)})'
    return repr(value)


def _assign(name: str, value: Any, call: str = '') -> str:
    if not call:
        return f'{name} = {_write(value, 0, len(name) + 3)}'
    parts = ''.join(f'    {k}={_write(v, 4, len(k) + 1)},\n' for k, v in value.items())
    return f'{name} = {call}(\n    _base_.model,\n{parts})'


def _bases(data: OwnData, recipe: Recipe) -> tuple[str, ...]:
    return {
        DETECTION: (
            'ssdlite_mnv3_large',
            'coco_320',
            'schedule_short',
            'runtime_det',
        ),
        SEGMENTATION: (
            'lraspp_mnv3_large',
            'cityscapes_769',
            'schedule_short',
            'runtime_seg',
        ),
        CLASSIFICATION: (
            'mnv3_large',
            'imagenet_224',
            'schedule_short',
            'runtime_cls',
        ),
    }[data.task]


def _metainfo(data: OwnData) -> list[str]:
    colours = distinct_colours(len(data.classes))
    return [
        _assign('metainfo', dict(classes=data.classes, palette=colours)),
    ]


def _detection_length(data: OwnData, recipe: Recipe) -> list[str]:
    return [f'max_iters = {recipe.iterations}']


def _classification_length(data: OwnData, recipe: Recipe) -> list[str]:
    epoch = _iterations_per_epoch(data, recipe.batch)
    return [f'max_epochs = {max(1, recipe.iterations // epoch)}']


_LENGTH = {
    DETECTION: _detection_length,
    SEGMENTATION: _detection_length,
    CLASSIFICATION: _classification_length,
}


def _model(data: OwnData, recipe: Recipe) -> dict[str, Any]:
    weights = recipe.weights
    backbone: dict[str, Any] = dict(arch=recipe.network)
    preprocessor: dict[str, Any] = {}
    # From scratch, what saves the copies that TensorFlow's padding takes.
    padding = 'symmetric' if weights is None else weights.padding
    if padding == 'symmetric':
        backbone['padding'] = padding
    if weights is not None:
        # Those that pad as PyTorch does are trained on ImageNet's normalised colours.
        if padding == 'symmetric':
            preprocessor = dict(mean=list(_IMAGENET_MEAN), std=list(_IMAGENET_STD))
        if weights.eps not in (None, 1e-3):
            backbone['norm_cfg'] = dict(eps=weights.eps)
        pretrained = dict(type='mmnv3.ForeignPretrained', checkpoint=weights.source)
        # What the file does not fit, as a halved tail, starts as elsewhere.
        start = {
            DETECTION: dict(type='TruncNormal', layer='Conv2d', std=0.03),
        }.get(data.task, dict(type='Kaiming', layer='Conv2d', mode='fan_out'))
        backbone['init_cfg'] = [start, pretrained]
    classes = len(data.classes)
    if data.task == DETECTION:
        anchors: dict[str, Any] = dict(input_size=_Name('input_size'))
        if recipe.min_scale is not None:
            anchors['min_scale'] = recipe.min_scale
        model: dict[str, Any] = dict(
            backbone=backbone,
            bbox_head=dict(num_classes=classes, anchor_generator=anchors),
            test_cfg=dict(score_thr=0.01),
        )
        if padding == 'symmetric':
            model['neck'] = dict(padding=padding)
    elif data.task == SEGMENTATION:
        backbone['out_taps'] = (_TAPS[recipe.network], 'C5')
        model = dict(backbone=backbone, decode_head=dict(num_classes=classes))
        # As arrays have it, the height first.
        preprocessor['size'] = _Name('input_size[::-1]')
    else:
        # ImageNet's average of batch normalisation takes thousands of iterations.
        backbone['norm_cfg'] = dict(momentum=0.1, **backbone.get('norm_cfg', {}))
        model = dict(
            backbone=backbone,
            head=dict(
                num_classes=classes,
                loss=dict(num_classes=classes),
                topk=_top(data),
            ),
        )
        preprocessor['num_classes'] = classes
    return {**(dict(data_preprocessor=preprocessor) if preprocessor else {}), **model}


def _top(data: OwnData) -> tuple[int, ...]:
    return (1, 5) if len(data.classes) > 5 else (1,)


def _hooks(recipe: Recipe) -> list[str]:
    if recipe.weights is None or not recipe.weights.folded:
        return []
    return [
        "# The file's normalisation is folded into its kernels.",
        "custom_hooks = [*_base_.custom_hooks, dict(type='mmnv3.UnfoldNormsHook')]",
    ]


# Pipelines are lists, which a config replaces: those of the bases, but for sizes.
_DETECTION_PIPELINES = """
resize = dict(type='Resize', scale=input_size, keep_ratio=False)
train_pipeline = [
    *_base_.train_pipeline[:3],
    dict(type='MinIoURandomCrop', min_ious=crop_overlaps, min_crop_size=0.5),
    resize,
    # It swaps colours, too: leave it out where colour alone tells classes apart.
    dict(
        type='PhotoMetricDistortion',
        brightness_delta=24,
        contrast_range=(0.8, 1.2),
        saturation_range=(0.8, 1.2),
        hue_delta=8,
    ),
    *_base_.train_pipeline[5:],
]
test_pipeline = [_base_.test_pipeline[0], resize, *_base_.test_pipeline[2:]]
tta_pipeline = [*test_pipeline[:-1], _base_.tta_pipeline[-1]]
"""
_SEGMENTATION_PIPELINES = """
# Palettes are left as they are: labels are numbers, not colours.
load_labels = dict(type='LoadAnnotations', imdecode_backend='pillow')
train_pipeline = [
    dict(type='LoadImageFromFile'),
    load_labels,
    dict(type='RandomResize', scale=input_size, ratio_range=(0.5, 2.0)),
    dict(type='RandomCrop', crop_size=input_size[::-1]),
    dict(type='RandomFlip', prob=0.5),
    dict(type='PackSegInputs'),
]
test_pipeline = [
    dict(type='LoadImageFromFile'),
    dict(type='Resize', scale=input_size),
    load_labels,
    dict(type='PackSegInputs'),
]
tta_pipeline = [*test_pipeline[:-1], _base_.tta_pipeline[-1]]
"""
_CLASSIFICATION_PIPELINES = """
train_pipeline = [
    dict(type='LoadImageFromFile'),
    dict(type='RandomResizedCrop', scale=input_size[0], crop_ratio_range=(0.35, 1.0)),
    *_base_.train_pipeline[2:],
]
test_pipeline = [
    dict(type='LoadImageFromFile'),
    dict(type='ResizeEdge', scale=input_size[0] * 8 // 7, edge='short'),
    dict(type='CenterCrop', crop_size=input_size[0]),
    dict(type='PackInputs'),
]
tta_pipeline = [*test_pipeline[:-1], _base_.tta_pipeline[-1]]
"""
_PIPELINES = {
    DETECTION: [_DETECTION_PIPELINES.strip()],
    SEGMENTATION: [_SEGMENTATION_PIPELINES.strip()],
    CLASSIFICATION: [_CLASSIFICATION_PIPELINES.strip()],
}


def _loaders(data: OwnData, recipe: Recipe, annotations: str) -> list[str]:
    found = []
    for part, loader, pipeline in (
        ('train', 'train', 'train_pipeline'),
        ('val', 'val', 'test_pipeline'),
    ):
        dataset: dict[str, Any] = dict(
            type=data.dataset['type'],
            data_root=_Name('data_root'),
            metainfo=_Name('metainfo'),
            pipeline=_Name(pipeline),
        )
        dataset.update(dataset_settings(data, part, annotations))
        dataset = {
            k: dataset[k] for k in sorted(dataset, key=lambda k: k == 'pipeline')
        }
        if part == 'val':
            dataset['test_mode'] = True
        elif data.task == DETECTION:
            # The base leaves out pictures under 32 pixels, which COCO has by mistake.
            dataset['filter_cfg'] = dict(min_size=1)
        if data.task != DETECTION:
            # The base's are of other data sets, with settings of their own.
            dataset = dict(_delete_=True, **dataset)
        settings: dict[str, Any] = dict(num_workers=recipe.workers, dataset=dataset)
        if part == 'train':
            settings = dict(batch_size=recipe.batch, **settings)
        found.append(_assign(f'{loader}_dataloader', settings))
    found.append('test_dataloader = val_dataloader')
    if data.task == DETECTION:
        file = dataset_settings(data, 'val', annotations)['ann_file']
        absolute = str(file).startswith('/')
        place = repr(file) if absolute else f'data_root + {file!r}'
        found.append(f'val_evaluator = dict(ann_file={place})')
    elif data.task == CLASSIFICATION:
        found.append(f'val_evaluator = dict(topk={_top(data)})')
    if data.task != SEGMENTATION:
        found.append('test_evaluator = val_evaluator')
    return found


def _schedule(data: OwnData, recipe: Recipe) -> list[str]:
    """Warm-up and cosine, or DeepLab's decay, over the whole training."""
    rate = round(_RATE * recipe.batch / _BATCH[data.task], 6)
    found = []
    if rate != _RATE:
        found.append(f'optim_wrapper = dict(optimizer=dict(lr={rate}))')
    found.append(f'auto_scale_lr = dict(base_batch_size={recipe.batch})')
    warm_up = min(100, max(1, recipe.iterations // 10))
    by_epoch = data.task == CLASSIFICATION
    first = dict(
        type='LinearLR', start_factor=0.1, by_epoch=False, begin=0, end=warm_up
    )
    if by_epoch:
        epochs = max(1, recipe.iterations // _iterations_per_epoch(data, recipe.batch))
        interval = max(1, epochs // _VALIDATIONS)
        loop = dict(
            type='EpochBasedTrainLoop',
            max_epochs=_Name('max_epochs'),
            val_interval=interval,
        )
        second: dict[str, Any] = dict(
            type='CosineAnnealingLR',
            by_epoch=True,
            T_max=_Name('max_epochs'),
            eta_min=0,
            convert_to_iter_based=True,
        )
    else:
        interval = max(1, math.ceil(recipe.iterations / _VALIDATIONS))
        loop = dict(
            type='IterBasedTrainLoop',
            max_iters=_Name('max_iters'),
            val_interval=interval,
        )
        second = dict(by_epoch=False, begin=warm_up, end=_Name('max_iters'), eta_min=0)
        if data.task == DETECTION:
            second = dict(
                type='CosineAnnealingLR',
                T_max=_Name(f'max_iters - {warm_up}'),
                **second,
            )
        else:
            second = dict(type='PolyLR', power=0.9, **{**second, 'begin': 0})
    found += [
        _assign('train_cfg', loop),
        f'default_hooks = dict(checkpoint=dict(interval={interval}))',
        _assign('param_scheduler', [first, second]),
    ]
    return found
