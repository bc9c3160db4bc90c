"""Subjects that only their own toolbox can run: models without an exported form."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

import cv2
import mmcv
import numpy as np
import torch
from mmdet.models import SingleStageDetector
from mmdet.models.dense_heads.base_dense_head import BaseDenseHead
from mmdet.structures import DetDataSample
from mmengine.config import Config
from mmengine.structures import BaseDataElement
from torch import nn

from mmnv3.benchmark.costs import check_device, count_model, tensor_bytes
from mmnv3.benchmark.subject import (
    NETWORK,
    NETWORK_AND_POST,
    POST,
    PRE,
    Request,
    Stages,
    Subject,
    run_stages,
)
from mmnv3.errors import UserError


def toolbox_subject(model: nn.Module, request: Request) -> Subject:
    """Makes a model ready for its toolbox's own ``predict``, in eager mode.

    Args:
        model: What :func:`mmnv3.engine.build.build_model` returns.
        request: What was asked for.

    Raises:
        UserError: When it cannot infer here.
    """
    check_device('pytorch', request.device)
    pictures = request.pictures()
    size = toolbox_size(model.cfg, pictures[0].shape[1::-1], request.size)
    begin = time.perf_counter()
    model.to(request.device)
    stages = toolbox_stages(model, size)
    with torch.no_grad():
        try:
            run_stages(stages, pictures)
        except Exception as error:  # Anything may be missing in a foreign model.
            reason = str(error).strip().partition('\n')[0]
            raise UserError(
                f'{request.model} cannot infer at {size[0]}x{size[1]} here '
                f'({type(error).__name__}: {reason}); give another --size, or install '
                'what it names'
            ) from None
    load_seconds = time.perf_counter() - begin
    cost = count_model(model, size)
    return Subject(
        model=request.model,
        backend='pytorch',
        precision='fp32',
        size=size,
        stages=stages,
        pictures=pictures,
        load_seconds=load_seconds,
        file_bytes=tensor_bytes(model),
        params=cost.params,
        madds=cost.madds or None,
        child={'request': asdict(request), 'backend': 'pytorch'},
    )


def toolbox_size(
    config: Config,
    picture: tuple[int, int],
    asked: tuple[int, int] | None,
    loader: str = 'test_dataloader',
) -> tuple[int, int]:
    """What a config's pipeline makes of a picture's size.

    Args:
        config: The config.
        picture: (width, height).
        asked: A size that comes before all others.
        loader: The data loader whose pipeline is read.

    Returns:
        (width, height); the picture's own where the config changes nothing.
    """
    if asked:
        return asked
    dataset = config.get(loader, {}).get('dataset', {})
    # Sets that repeat or mix others.
    while 'pipeline' not in dataset and 'dataset' in dataset:
        dataset = dataset['dataset']
    size = picture
    for step in dataset.get('pipeline', ()):
        scale = step.get('crop_size', step.get('scale'))
        if not str(step['type']).endswith(('Resize', 'Crop')) or not scale:
            continue
        scale = (scale, scale) if isinstance(scale, int) else tuple(scale)
        keeps = step.get('keep_ratio', False)
        size = mmcv.rescale_size(size, scale) if keeps else scale
    return size


def toolbox_stages(model: nn.Module, size: tuple[int, int]) -> Stages:
    """Divides a model as far as its own code is divided.

    Args:
        model: Of mmdet, mmseg or mmpretrain.
        size: Input, (width, height).
    """

    def pre(pictures: Sequence[np.ndarray]) -> dict[str, Any]:
        return model.data_preprocessor(pack(model, pictures, size))

    if _has_plain_head(model):
        metas: list[dict] = []

        def network(data: dict[str, Any]) -> tuple:
            metas[:] = [sample.metainfo for sample in data['data_samples']]
            return model.bbox_head(model.extract_feat(data['inputs']))

        stages = {
            PRE: pre,
            NETWORK: network,
            POST: lambda maps: model.bbox_head.predict_by_feat(
                *maps, batch_img_metas=metas, rescale=True
            ),
        }
    else:
        stages = {
            PRE: pre,
            NETWORK_AND_POST: lambda data: model(**data, mode='predict'),
        }
    return synchronised(stages, next(model.parameters()).device)


def synchronised(stages: Stages, device: torch.device) -> Stages:
    """Makes every stage wait for its device."""
    if device.type != 'cuda':
        return stages

    def wait_for(step: Any) -> Any:
        def waiting(state: Any) -> Any:
            state = step(state)
            torch.cuda.synchronize(device)
            return state

        return waiting

    return {name: wait_for(step) for name, step in stages.items()}


def pack(
    model: nn.Module, pictures: Sequence[np.ndarray], size: tuple[int, int]
) -> dict[str, list]:
    """Resizes pictures and packs them as a toolbox's pipeline does.

    Args:
        model: The model, which decides the kind of the samples.
        pictures: (H, W, 3) uint8, BGR.
        size: (width, height).
    """
    inputs, samples = [], []
    for picture in pictures:
        height, width = picture.shape[:2]
        resized = cv2.resize(picture, size)
        inputs.append(torch.from_numpy(resized.transpose(2, 0, 1).copy()))
        sample = sample_class(model)()
        sample.set_metainfo(
            dict(
                img_shape=size[::-1],
                pad_shape=size[::-1],
                ori_shape=(height, width),
                scale_factor=(size[0] / width, size[1] / height),
            )
        )
        samples.append(sample)
    return dict(inputs=inputs, data_samples=samples)


def sample_class(model: nn.Module) -> type[BaseDataElement]:
    """The kind of sample that a model's toolbox works on."""
    if hasattr(model, 'decode_head'):
        from mmseg.structures import SegDataSample

        return SegDataSample
    if hasattr(model, 'bbox_head') or hasattr(model, 'with_bbox'):
        return DetDataSample
    from mmpretrain.structures import DataSample

    return DataSample


def _has_plain_head(model: nn.Module) -> bool:
    """Whether ``predict`` is the head and ``predict_by_feat``, and nothing else."""
    return (
        isinstance(model, SingleStageDetector)
        and type(model).predict is SingleStageDetector.predict
        and isinstance(model.bbox_head, BaseDenseHead)
        and type(model.bbox_head).predict is BaseDenseHead.predict
    )
