"""Reads from a config what an exported file says about its model."""

from __future__ import annotations

from collections.abc import Mapping

from mmengine.config import Config

from mmnv3.deploy.info import ModelInfo
from mmnv3.engine.config import (
    class_colours,
    class_names,
    normalization,
    picture_steps,
)
from mmnv3.errors import UserError
from mmnv3.resizing import ResizeEdge


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
    width, height = size
    return ModelInfo(
        task=task,
        classes=class_names(config, num_classes, dataset_meta),
        palette=class_colours(config, num_classes, dataset_meta),
        input_shape=(batch, 3, height, width),
        resize_edge=next(
            (
                step.scale
                for step in picture_steps(config, size)
                if isinstance(step, ResizeEdge)
            ),
            None,
        ),
        postprocessed=postprocessed,
        **normalization(config)._asdict(),
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
