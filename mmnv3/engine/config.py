"""What a config says: its task, sizes, classes and pictures. Nobody else reads it."""

from __future__ import annotations

import os
import re
import traceback
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

from mmengine.config import Config
from mmengine.registry import DATASETS

from mmnv3.errors import UserError, first_line
from mmnv3.mim import find_config, nearest_configs
from mmnv3.resizing import (
    INTERPOLATIONS,
    CenterCrop,
    Pad,
    Resize,
    ResizeEdge,
    Step,
    common_size,
    output_size,
)
from mmnv3.size import Size
from mmnv3.tasks import CLASSIFICATION, DETECTION, SEGMENTATION

# The part of a toolbox's model that nobody else's has.
_HEADS = {
    'bbox_head': DETECTION,
    'decode_head': SEGMENTATION,
    'head': CLASSIFICATION,
}
# What ImageNet's networks are made for.
_CLASSIFIER_SIZE = Size(224, 224)

# What mmengine reads.
_CONFIG_ENDINGS = ('.py', '.yaml', '.yml', '.json')


def read_config(path: str, options: dict | None = None) -> Config:
    """Reads a config and overrides some of its settings.

    Args:
        path: The file, or the name of one of ours (:func:`mmnv3.mim.find_config`).
        options: Settings, as ``{'model.test_cfg.score_thr': 0.3}``.

    Raises:
        UserError: When the file is missing, cannot be read (with the line where it is
            wrong), describes no model, or does not take the settings.
    """
    path = find_config(path)
    if not Path(path).is_file():
        near = nearest_configs(path)
        raise UserError(f'{path}: there is no such config file{near}')
    if Path(path).suffix not in _CONFIG_ENDINGS:
        raise UserError(f'{path}: configs end in {", ".join(_CONFIG_ENDINGS)}')
    try:
        config = Config.fromfile(path)
    except (Exception, SystemExit) as error:
        # Whatever is raised while a config's own code runs is that code's fault.
        raise UserError(_config_fault(path, error)) from error
    for key, value in (options or {}).items():
        try:
            config.merge_from_dict({key: value})
        except Exception as error:
            raise UserError(
                f'{path} does not take the setting {key}={value!r}: {_said(error)}'
            ) from error
    model = config.get('model')
    if not isinstance(model, Mapping) or not model.get('type'):
        raise UserError(f'{path} describes no model; give it model = dict(type=…)')
    _leave_unformatted(config)
    return config


def _leave_unformatted(config: Config) -> None:
    """Has a config written as mmengine puts it together, a setting a line.

    A Runner asks for its config's text four times, and yapf takes half a second for
    each and more for the first, longer than a search's trial may validate.
    ``format_python_code=False`` says so, but ``Config.fromfile`` of mmengine 0.10.7
    drops it.
    """
    object.__setattr__(config, '_format_python_code', False)


def _config_fault(path: str, error: BaseException) -> str:
    """What is wrong in a config: its file, or that of its base, the line, the error."""
    file, line, opened = path, None, []
    # A frame that raises an error anew is walked again.
    frames = dict(traceback.walk_tb(error.__traceback__))
    for frame, number in frames.items():
        if frame.f_code.co_name in ('_file2dict', '_parse_lazy_import'):
            # What mmengine reads, a base inside of what names it.
            file, line = frame.f_locals['filename'], None
            opened.append(os.path.abspath(file))
        elif frame.f_code.co_filename == file:
            line = number
    if len(set(opened)) < len(opened):
        return f'{path}: its bases lead back to {os.path.basename(file)}; cut the loop'
    if isinstance(error, UnicodeDecodeError):
        line = error.object[: error.start].count(b'\n') + 1
    elif isinstance(error, SyntaxError):
        found = re.search(r'line (\d+)', str(error))
        line = error.lineno or (found and int(found[1]))
    else:
        line = getattr(error, 'lineno', line)
    place = path if os.path.abspath(file) == os.path.abspath(path) else file
    return f'{place}{f", line {line}" if line else ""}: {_said(error)}'


def _said(error: BaseException) -> str:
    """The kind of an error and the first line of what it says."""
    if isinstance(error, UserError):
        return str(error)
    if isinstance(error, UnicodeDecodeError):
        return 'it is not UTF-8'
    if isinstance(error, SyntaxError):
        return re.sub(
            r'^There are.*?: | \([^()]*line \d+\)$', '', error.msg or 'SyntaxError'
        )
    return ': '.join(filter(None, [type(error).__name__, first_line(error)]))


def config_task(config: Config) -> str | None:
    """What a config's model is for, told without building it.

    Returns:
        A name of :mod:`mmnv3.tasks`; None for other models.
    """
    model = config.get('model', {})
    return next((task for part, task in _HEADS.items() if part in model), None)


def config_head(config: Config) -> Mapping:
    """The settings of the head that does a config's task; none for other models."""
    model = config.get('model', {})
    return next((model[part] for part in _HEADS if part in model), {})


def picture_pipeline(config: Config) -> list[Mapping]:
    """The transforms that a config tests pictures with; none without test data."""
    found = datasets_with_pipeline(config.get('test_dataloader', {}).get('dataset', {}))
    first: Mapping = next(found, {})
    return list(first.get('pipeline', ()))


def keep_pictures(config: Config) -> bool:
    """Has a config's test data left as they are loaded.

    Args:
        config: The config, which is changed: steps that resize, crop or pad go.

    Returns:
        Whether any resized, so that pictures did not have to fit the network.

    Raises:
        UserError: When there are steps of which nobody knows what they do.
    """
    resized = False
    for dataset in datasets_with_pipeline(config.test_dataloader.dataset):
        steps = [_read_step(config, dict(given)) for given in dataset['pipeline']]
        dataset['pipeline'] = [
            given for given, step in zip(dataset['pipeline'], steps) if step is None
        ]
        resized |= any(isinstance(step, (Resize, ResizeEdge)) for step in steps)
    return resized


def datasets_with_pipeline(dataset: Any) -> Iterator[Any]:
    """A data set, or those that it repeats or joins, which have a pipeline."""
    if 'pipeline' in dataset:
        yield dataset
        return
    for part in (dataset.get('dataset'), *dataset.get('datasets', ())):
        if part:
            yield from datasets_with_pipeline(part)


def input_size(config: Config, size: Sequence[int] | None = None) -> Size:
    """The size of a network's input.

    Args:
        config: The config.
        size: What somebody asks for, (width, height). By default a detector's is that
            of its anchors, another network's that of its test pipeline, and a
            classifier's without one is 224x224.

    Raises:
        UserError: When it is no size, or when nobody says one.
    """
    if size:
        return Size.of(size, '--size')
    found = anchor_size(config) or pipeline_size(config)
    if found:
        return found
    if config_task(config) == CLASSIFICATION and not _picture_steps(config):
        return _CLASSIFIER_SIZE
    raise UserError(
        f'{config.filename} tests pictures at sizes of their own; say one with '
        '--size WIDTH HEIGHT'
    )


def anchor_size(config: Config) -> Size | None:
    """The input that a detector's anchors are laid out for, where its config says."""
    head = config.get('model', {}).get('bbox_head', {})
    size = isinstance(head, Mapping) and head.get('anchor_generator', {}).get(
        'input_size'
    )
    return Size.of(size, 'anchor_generator.input_size') if size else None


def pipeline_size(config: Config) -> Size | None:
    """The size that a config's test pipeline brings all pictures to.

    Returns:
        None where pictures come out in different sizes.

    Raises:
        UserError: When the pipeline has a step that cannot be followed.
    """
    steps = _with_padding(config, _picture_steps(config))
    return common_size(steps)


def picture_steps(
    config: Config, size: Sequence[int] | None = None
) -> tuple[Step, ...]:
    """What a config's test pipeline does to the size of a picture.

    Args:
        config: The config.
        size: The input, (width, height), if it shall be another than the config's own.

    Returns:
        The steps, in their order; none where pictures keep their size.

    Raises:
        UserError: When something cannot be done in the same way outside the toolbox, or
            not for that size.
    """
    steps = _picture_steps(config)
    _check_task(config, steps)
    own = common_size(_with_padding(config, steps))
    size = Size.of(size) if size else own
    if size and own and size != own:
        steps = _for_size(config, steps, own, size)
    steps = _with_padding(config, steps)
    if own is None and steps and config_task(config) == DETECTION:
        raise UserError(
            f'{config.filename} brings pictures to different sizes, and a detector '
            'takes one; give Resize keep_ratio=False, or a Pad of one size after it'
        )
    resized = [step for step in steps if isinstance(step, Resize) and step.keep_ratio]
    if own is None and size and resized:
        # Only a size that pictures do come out in.
        if output_size(steps, resized[-1].output_size(size)) != size:
            raise UserError(
                f'{config.filename}: Resize(scale={tuple(resized[-1].size)}, '
                f'keep_ratio=True) makes no picture {size}; give a --size of which one '
                'side is of that scale, or change the scale'
            )
    return steps


class Normalization(NamedTuple):
    """What is done to pixels, (pixels - mean) / std for each channel.

    Attributes:
        mean: Of pixels from 0 to 255.
        std: Likewise.
        channel_order: Of both and of the network's input, ``'rgb'`` or ``'bgr'``.
    """

    mean: tuple[float, ...]
    std: tuple[float, ...]
    channel_order: str


def preprocessor(config: Config) -> dict:
    """A config's ``data_preprocessor``, wherever it stands."""
    model = config.get('model', {})
    given = model.get('data_preprocessor') or config.get('data_preprocessor') or {}
    return dict(given)


def normalization(config: Config) -> Normalization:
    """How a config's ``data_preprocessor`` changes pixels."""
    given = preprocessor(config)
    swaps = any(given.get(name) for name in ('bgr_to_rgb', 'rgb_to_bgr', 'to_rgb'))
    return Normalization(
        tuple(map(float, given.get('mean') or (0, 0, 0))),
        tuple(map(float, given.get('std') or (1, 1, 1))),
        'rgb' if swaps else 'bgr',
    )


def class_names(
    config: Config, count: int, dataset_meta: Mapping | None = None
) -> tuple[str, ...]:
    """The names of a model's classes.

    The checkpoint's own come first, then those of the config's test set, then those
    of that set's class; what has another number of them is passed over.

    Args:
        config: The config.
        count: Classes of the model.
        dataset_meta: What a checkpoint remembers of its data set.

    Returns:
        The names; ``'0'``, ``'1'`` and so on where nobody says.
    """
    for names in _meta(config, 'classes', dataset_meta):
        if not isinstance(names, str) and len(names) == count:
            return tuple(map(str, names))
    return tuple(map(str, range(count)))


def class_colours(
    config: Config, count: int, dataset_meta: Mapping | None = None
) -> tuple[tuple[int, ...], ...]:
    """The colours of a model's classes, RGB, from where their names are.

    Args:
        config: The config.
        count: Classes of the model.
        dataset_meta: What a checkpoint remembers of its data set.

    Returns:
        The colours; none where nobody says.
    """
    for colours in _meta(config, 'palette', dataset_meta):
        if not isinstance(colours, str) and len(colours) == count:
            return tuple(tuple(map(int, colour)) for colour in colours)
    return ()


def _meta(config: Config, key: str, dataset_meta: Mapping | None) -> list:
    """What a checkpoint, a config and its data set's class say, in this order."""
    dataset = config.get('test_dataloader', {}).get('dataset', {})
    scope = config.get('default_scope', 'mmdet')
    with DATASETS.switch_scope_and_registry(scope) as registry:
        kind = registry.get(dataset['type']) if 'type' in dataset else None
    sources = dataset_meta, dataset.get('metainfo'), getattr(kind, 'METAINFO', {})
    return [(source or {}).get(key) or () for source in sources]


def _picture_steps(config: Config) -> tuple[Step, ...]:
    """The steps of the test pipeline itself, without the preprocessor's padding."""
    return tuple(
        step
        for transform in picture_pipeline(config)
        if (step := _read_step(config, dict(transform))) is not None
    )


def _read_step(config: Config, given: dict[str, Any]) -> Step | None:
    """A transform as a step; None for one that leaves the picture as it is."""
    name = str(given.pop('type')).rpartition('.')[2]
    if name.startswith(('Pack', 'LoadAnnotations', 'FilterAnnotations')):
        return None
    if name.startswith('Load'):
        for key, usual in (
            ('to_float32', False),
            ('color_type', 'color'),
            ('imdecode_backend', 'cv2'),
        ):
            if given.get(key, usual) != usual:
                raise _refusal(config, name, given, key)
        return None
    if name == 'RandomFlip' and not given.get('prob', given.get('flip_prob')):
        return None
    reader = _READERS.get(name)
    if reader is None or (name == 'Resize' and not given.get('scale')):
        raise _refusal(config, name, given, *given)
    step = reader(given)
    # What transforms do to annotations is not ours.
    given.pop('clip_object_border', None)
    for key in ('interpolation', 'backend'):
        given.pop(key, None)
    if given or (
        isinstance(step, (Resize, ResizeEdge))
        and step.interpolation not in INTERPOLATIONS.get(step.backend, ())
    ):
        raise _refusal(config, name, given, *given)
    return step


def _read_resize(given: dict[str, Any]) -> Step:
    return Resize(
        Size.of(given.pop('scale', ()), 'Resize.scale'),
        given.pop('keep_ratio', False),
        given.get('interpolation', 'bilinear'),
        given.get('backend', 'cv2'),
    )


def _read_resize_tf(given: dict[str, Any]) -> Step:
    return Resize(
        Size.of(given.pop('scale', ()), 'ResizeTF.scale'), backend='tensorflow'
    )


def _read_resize_edge(given: dict[str, Any]) -> Step:
    return ResizeEdge(
        given.pop('scale'),
        given.pop('edge', 'short'),
        given.get('interpolation', 'bilinear'),
        given.get('backend', 'cv2'),
    )


def _read_center_crop(given: dict[str, Any]) -> Step:
    return CenterCrop(Size.of(given.pop('crop_size'), 'CenterCrop.crop_size'))


def _read_pad(given: dict[str, Any]) -> Step:
    size, value = given.pop('size', None), given.pop('pad_val', 0)
    value = value.get('img', 0) if isinstance(value, Mapping) else value
    if given.get('padding_mode') == 'constant':
        del given['padding_mode']
    return Pad(
        size and Size.of(size, 'Pad.size'),
        given.pop('size_divisor', None) or 1,
        given.pop('pad_to_square', False),
        tuple(value) if isinstance(value, Sequence) else (value,) * 3,
    )


_READERS = {
    'Resize': _read_resize,
    'ResizeTF': _read_resize_tf,
    'ResizeEdge': _read_resize_edge,
    'CenterCrop': _read_center_crop,
    'Pad': _read_pad,
}


def _refusal(config: Config, name: str, given: Mapping, *keys: str) -> UserError:
    settings = ', '.join(f'{key}={given[key]!r}' for key in keys if key in given)
    return UserError(
        f'{config.filename}: {name}({settings}) of the test pipeline can only be done '
        f'by its toolbox; outside, {", ".join(_READERS)} by cv2 or pillow can'
    )


def _check_task(config: Config, steps: Sequence[Step]) -> None:
    """Refuses what cannot be undone in boxes or masks."""
    task = config_task(config)
    refused = {
        # mmseg does not cut such padding off either, and would stretch the mask.
        SEGMENTATION: (CenterCrop, ResizeEdge, Pad),
        DETECTION: (CenterCrop, ResizeEdge),
    }
    for step in steps:
        if isinstance(step, refused.get(task or '', ())):
            raise UserError(
                f'{config.filename}: {type(step).__name__} of the test pipeline is not '
                f'undone in the results of {task}; leave it out'
                + (
                    ', or pad with data_preprocessor.test_cfg'
                    if isinstance(step, Pad)
                    else ''
                )
            )


def _with_padding(config: Config, steps: tuple[Step, ...]) -> tuple[Step, ...]:
    """Adds the padding of normalised pictures, where there is any in testing."""
    given = preprocessor(config)
    task = config_task(config)
    if task == SEGMENTATION:
        testing = given.get('test_cfg') or {}
        value, shape = given.get('pad_val', 0), testing.get('size')
        divisor = testing.get('size_divisor') or 1
    else:
        value, shape = given.get('pad_value', 0), None
        divisor = given.get('pad_size_divisor') or 1
    if not shape and divisor == 1:
        return steps
    size = shape and Size.of(tuple(shape)[::-1], 'data_preprocessor.test_cfg.size')
    step = Pad(size, divisor, value=(value,) * 3, normalized=True)
    common = common_size(steps)
    if common and step.output_size(common) == common:
        return steps
    if task == DETECTION and common:
        raise UserError(
            f'{config.filename}: data_preprocessor.pad_size_divisor={divisor} would '
            f'pad pictures of {common}; give a size that it divides, or set it to 1'
        )
    return *steps, step


def _for_size(
    config: Config, steps: tuple[Step, ...], own: Size, size: Size
) -> tuple[Step, ...]:
    """Steps whose outcome is another size than a config's own."""
    changed = tuple(
        replace(step, size=size)
        if not isinstance(step, ResizeEdge) and step.size == own
        else step
        for step in steps
    )
    if common_size(_with_padding(config, changed)) == size:
        return changed
    if any(isinstance(step, CenterCrop) for step in steps):
        # More pixels than are left of a picture see the whole of it.
        return (Resize(size),)
    raise UserError(
        f'{config.filename}: the test pipeline makes pictures of {own}, and its steps '
        f'cannot make them {size}; leave the size out, or change the pipeline'
    )
