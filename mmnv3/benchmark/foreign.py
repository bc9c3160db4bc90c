"""Timed models that are run by others' code: of a toolbox, or of torchvision."""

from __future__ import annotations

from collections.abc import Sequence
from types import ModuleType
from typing import Any

import cv2
import mmcv
import numpy as np
import torch
import torchvision
from mmdet.models import SingleStageDetector
from mmdet.models.dense_heads.base_dense_head import BaseDenseHead
from mmdet.structures import DetDataSample
from mmengine.config import Config
from mmengine.structures import BaseDataElement
from torch import Tensor, nn
from torch.nn import functional as F
from torchvision.models.detection.ssd import SSD
from torchvision.models.segmentation import LRASPP

from mmnv3.benchmark.clock import Stages
from mmnv3.benchmark.timed_model import (
    NETWORK,
    NETWORK_AND_POST,
    POST,
    PRE,
    TORCHVISION,
    Request,
    TimedModel,
    start_model,
)
from mmnv3.errors import UserError, first_line
from mmnv3.resizing import picture_size
from mmnv3.size import Size

# Classes of each kind of model: COCO's with background, Cityscapes', ImageNet's.
_KINDS: dict[ModuleType, int] = {
    torchvision.models.detection: 91,
    torchvision.models.segmentation: 19,
    torchvision.models: 1000,
}
MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


def start_toolbox_model(model: nn.Module, request: Request) -> TimedModel:
    """Makes a model ready for its toolbox's own ``predict``, in eager mode.

    Args:
        model: What :func:`mmnv3.engine.build.build_model` returns.
        request: What was asked for.

    Raises:
        UserError: When it cannot infer here.
    """
    request.check_device()
    picture = picture_size(request.pictures()[0])
    size = toolbox_size(model.cfg, picture, request.size)

    def explain(error: Exception) -> UserError:
        return UserError(
            f'{request.model} cannot infer at {size} here ({type(error).__name__}: '
            f'{first_line(error)}); give another --size, or install what it names'
        )

    return start_model(
        request,
        lambda: toolbox_stages(model.to(request.device), size),
        size,
        model,
        model,
        explain=explain,
    )


def toolbox_size(
    config: Config,
    picture: tuple[int, int],
    asked: tuple[int, int] | None,
    loader: str = 'test_dataloader',
) -> Size:
    """What a toolbox's pipeline is likely to make of a picture's size.

    Where :mod:`mmnv3.engine.config` refuses a step that it cannot follow exactly, this
    passes over it: only time depends on it.

    Args:
        config: The config.
        picture: (width, height).
        asked: A size that comes before all others.
        loader: The data loader whose pipeline is read.

    Returns:
        The picture's own where the config changes nothing.
    """
    if asked:
        return Size(*asked)
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
    return Size(*size)


def toolbox_stages(model: Any, size: tuple[int, int]) -> Stages:
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

        stages: Stages = {
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


def _has_plain_head(model: Any) -> bool:
    """Whether ``predict`` is the head and ``predict_by_feat``, and nothing else."""
    return (
        isinstance(model, SingleStageDetector)
        and type(model).predict is SingleStageDetector.predict
        and isinstance(model.bbox_head, BaseDenseHead)
        and type(model.bbox_head).predict is BaseDenseHead.predict
    )


def build_torchvision(name: str, **settings: Any) -> nn.Module:
    """Builds a model of torchvision with random weights, always the same.

    Args:
        name: With or without the prefix ``'torchvision:'``.
        **settings: Passed to its constructor, as ``num_classes``.

    Raises:
        UserError: When there is no such detector, segmenter or classifier.
    """
    module = torchvision_module(name)
    # Classifiers have no backbone with weights of its own.
    if module is not torchvision.models:
        settings['weights_backbone'] = None
    torch.manual_seed(0)
    return torchvision.models.get_model(
        name.removeprefix(TORCHVISION),
        weights=None,
        **{'num_classes': _KINDS[module], **settings},
    )


def torchvision_module(name: str) -> ModuleType:
    """The module of torchvision that has a model: its detectors', segmenters', or all.

    Args:
        name: With or without the prefix ``'torchvision:'``.

    Raises:
        UserError: When there is no such detector, segmenter or classifier.
    """
    name = name.removeprefix(TORCHVISION)
    for module in _KINDS:
        if name in torchvision.models.list_models(module):
            return module
    close = [
        known
        for known in torchvision.models.list_models()
        if 'mobilenet_v3' in known and not known.startswith('quantized')
    ]
    raise UserError(f'torchvision has no model {name!r}; it has {", ".join(close)}, …')


def start_torchvision_model(request: Request) -> TimedModel:
    """Makes a model of torchvision ready, in eager mode.

    Raises:
        UserError: When there is no such model, or for settings that it has not.
    """
    for name in ('checkpoint', 'options'):
        if getattr(request, name):
            option = name.replace('options', 'cfg-options')
            raise UserError(f'--{option} is for configs, not for {request.model}')
    request.check_device()
    model = build_torchvision(request.model).eval().to(request.device)
    size = _torchvision_size(model, request)
    return start_model(
        request,
        lambda: torchvision_stages(model, size),
        size,
        _Network(model),
        model,
    )


class _Network(nn.Module):
    """What of a model is counted: from normalised pictures to maps."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, x: Tensor) -> Any:
        if isinstance(self.model, SSD):
            return self.model.head(list(self.model.backbone(x).values()))
        return self.model(x)


def _torchvision_size(model: Any, request: Request) -> Size:
    """The input's size; a detector's own transform decides its."""
    picture, asked = request.pictures()[0], request.size
    if hasattr(model, 'transform'):
        if asked:
            raise UserError(
                f'{type(model).__name__} of torchvision resizes pictures itself; '
                'leave --size out, or give each size a run of its own'
            )
        height, width = model.transform(_to_tensors([picture], 'cpu'))[0].image_sizes[0]
        return Size(width, height)
    if asked:
        return Size(*asked)
    return picture_size(picture) if _is_segmenter(model) else Size(224, 224)


def torchvision_stages(model: Any, size: tuple[int, int]) -> Stages:
    """Divides a detector, segmenter or classifier of torchvision.

    Args:
        model: In eval mode.
        size: Input, (width, height); a detector's own transform decides its.
    """
    device = next(model.parameters()).device
    if hasattr(model, 'transform'):
        stages = _detector_stages(model, device)
    else:
        mean, std = (
            torch.tensor(values, device=device).view(1, 3, 1, 1)
            for values in (MEAN, STD)
        )

        def pre(pictures: Sequence[np.ndarray]) -> Tensor:
            resized = [cv2.resize(picture, size) for picture in pictures]
            return (torch.stack(_to_tensors(resized, device)) - mean) / std

        if _is_segmenter(model):
            stages = {
                PRE: pre,
                # LR-ASPP's classifier takes all maps, the others' the last one.
                NETWORK: lambda x: model.classifier(
                    model.backbone(x)
                    if isinstance(model, LRASPP)
                    else model.backbone(x)['out']
                ),
                POST: lambda logits: F.interpolate(
                    logits, size=size[::-1], mode='bilinear', align_corners=False
                ).argmax(1),
            }
        else:
            stages = {
                PRE: pre,
                NETWORK: model,
                POST: lambda logits: logits.softmax(1).topk(5),
            }
    return synchronised(stages, device)


def _detector_stages(model: Any, device: torch.device) -> Stages:
    sizes: list[tuple[int, int]] = []

    def pre(pictures: Sequence[np.ndarray]) -> Any:
        sizes[:] = [picture.shape[:2] for picture in pictures]
        tensors = _to_tensors(pictures, device)
        return model.transform(tensors)[0] if isinstance(model, SSD) else tensors

    if not isinstance(model, SSD):
        return {PRE: pre, NETWORK_AND_POST: model}

    def network(images: Any) -> tuple:
        features = list(model.backbone(images.tensors).values())
        return images, features, model.head(features)

    def post(state: tuple) -> list[dict[str, Tensor]]:
        images, features, maps = state
        anchors = model.anchor_generator(images, features)
        found = model.postprocess_detections(maps, anchors, images.image_sizes)
        return model.transform.postprocess(found, images.image_sizes, sizes)

    return {PRE: pre, NETWORK: network, POST: post}


def _is_segmenter(model: nn.Module) -> bool:
    return hasattr(model, 'classifier') and hasattr(model, 'backbone')


def _to_tensors(
    pictures: Sequence[np.ndarray], device: torch.device | str
) -> list[Tensor]:
    """RGB from 0 to 1, (3, H, W) each."""
    return [
        torch.from_numpy(picture[..., ::-1].transpose(2, 0, 1).copy())
        .to(device)
        .float()
        .div(255)
        for picture in pictures
    ]
