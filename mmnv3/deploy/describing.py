"""Reads from a config what an exported file says about its model."""

from __future__ import annotations

from collections.abc import Mapping

from mmengine.config import Config
from mmengine.registry import DATASETS

from mmnv3.deploy.info import ModelInfo
from mmnv3.errors import UserError


def describe(
    config: Config,
    task: str,
    size: tuple[int, int],
    num_classes: int,
    test_cfg: Mapping | None = None,
    dataset_meta: Mapping | None = None,
    batch: int = 1,
    postprocessed: bool = False,
) -> ModelInfo:
    """Collects what a config says about its model.

    Args:
        config: The config.
        task: See :class:`ModelInfo`.
        size: Pixels of the input, (width, height).
        num_classes: Classes, without background.
        test_cfg: A detector's post-processing.
        dataset_meta: What a checkpoint remembers of its data set.
        batch: Pictures of one call.
        postprocessed: Whether the graph chooses boxes or classes itself.

    Raises:
        UserError: When a detector's post-processing is more than a threshold and
            plain ``'nms'``.
    """
    given = config.model.get('data_preprocessor') or config.get('data_preprocessor', {})
    rgb = given.get('bgr_to_rgb') or given.get('to_rgb')
    width, height = size
    return ModelInfo(
        task=task,
        classes=class_names(config, num_classes, dataset_meta),
        palette=class_colours(config, num_classes, dataset_meta),
        input_shape=(batch, 3, height, width),
        resize_edge=short_edge(config),
        postprocessed=postprocessed,
        mean=tuple(map(float, given.get('mean') or (0, 0, 0))),
        std=tuple(map(float, given.get('std') or (1, 1, 1))),
        channel_order='rgb' if rgb else 'bgr',
        **(_suppression(test_cfg) if test_cfg else {}),
    )


def _suppression(test_cfg: Mapping) -> dict:
    nms = {'type': 'nms', **test_cfg['nms']}
    if set(nms) != {'type', 'iou_threshold'} or nms['type'] != 'nms':
        raise UserError(
            f'test_cfg.nms={dict(test_cfg["nms"])} cannot be exported; plain '
            "dict(type='nms', iou_threshold=…) can"
        )
    if test_cfg.get('min_bbox_size', -1) >= 0:
        raise UserError('test_cfg.min_bbox_size cannot be exported; leave it out')
    return dict(
        score_threshold=float(test_cfg.get('score_thr', 0)),
        iou_threshold=float(nms['iou_threshold']),
        max_detections=int(test_cfg['max_per_img']),
        max_per_class=int(test_cfg.get('nms_pre_per_class', -1)),
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
) -> tuple[tuple[int, int, int], ...]:
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


def short_edge(config: Config) -> int | None:
    """The short side that a config's test pipeline brings pictures to before cutting.

    Returns:
        Pixels, or None where it cuts nothing.
    """
    dataset = config.get('test_dataloader', {}).get('dataset', {})
    steps = {str(step['type']): step for step in dataset.get('pipeline', ())}
    if 'CenterCrop' not in steps or 'ResizeEdge' not in steps:
        return None
    return int(steps['ResizeEdge']['scale'])


def default_size(config: Config) -> tuple[int, int] | None:
    """The size that a config's test pipeline brings pictures to.

    Returns:
        (width, height), or None where it keeps theirs.
    """
    found = None
    dataset = config.get('test_dataloader', {}).get('dataset', {})
    for step in dataset.get('pipeline', ()):
        size = step.get('crop_size', step.get('scale'))
        if str(step['type']).endswith(('CenterCrop', 'Resize')) and size:
            keeps = step.get('keep_ratio', False)
            found = None if keeps else _pair(size)
    return found


def _pair(size: int | tuple[int, int]) -> tuple[int, int]:
    return (size, size) if isinstance(size, int) else tuple(size)
