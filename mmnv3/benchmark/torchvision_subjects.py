"""Subjects of torchvision, with random weights, divided as its own code is."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import asdict
from types import ModuleType
from typing import Any

import cv2
import numpy as np
import torch
import torchvision
from torch import Tensor, nn
from torch.nn import functional as F
from torchvision.models.detection.ssd import SSD

from mmnv3.benchmark.costs import check_device, count_model, tensor_bytes
from mmnv3.benchmark.subject import (
    NETWORK,
    NETWORK_AND_POST,
    POST,
    PRE,
    TORCHVISION,
    Request,
    Stages,
    Subject,
    run_stages,
)
from mmnv3.benchmark.toolbox_subjects import synchronised
from mmnv3.errors import UserError

# Classes of each kind of model: COCO's with background, Cityscapes', ImageNet's.
_KINDS: dict[ModuleType, int] = {
    torchvision.models.detection: 91,
    torchvision.models.segmentation: 19,
    torchvision.models: 1000,
}
_MEAN, _STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


def build_torchvision(name: str, **settings: Any) -> nn.Module:
    """Builds a model of torchvision with random weights, always the same.

    Args:
        name: With or without the prefix ``'torchvision:'``.
        **settings: Passed to its constructor, as ``num_classes``.

    Raises:
        UserError: When there is no such detector, segmenter or classifier.
    """
    name = name.removeprefix(TORCHVISION)
    for module, classes in _KINDS.items():
        if name in torchvision.models.list_models(module):
            # Classifiers have no backbone with weights of its own.
            if module is not torchvision.models:
                settings['weights_backbone'] = None
            torch.manual_seed(0)
            return torchvision.models.get_model(
                name, weights=None, **{'num_classes': classes, **settings}
            )
    close = [
        known
        for known in torchvision.models.list_models()
        if 'mobilenet_v3' in known and not known.startswith('quantized')
    ]
    raise UserError(f'torchvision has no model {name!r}; it has {", ".join(close)}, …')


def torchvision_subject(request: Request) -> Subject:
    """Makes a model of torchvision ready, in eager mode.

    Raises:
        UserError: When there is no such model, or for settings that it has not.
    """
    for name in ('checkpoint', 'options'):
        if getattr(request, name):
            option = name.replace('options', 'cfg-options')
            raise UserError(f'--{option} is for configs, not for {request.model}')
    check_device('pytorch', request.device)
    pictures = request.pictures()
    begin = time.perf_counter()
    model = build_torchvision(request.model).eval().to(request.device)
    size = _input_size(model, pictures[0], request.size)
    stages = torchvision_stages(model, size)
    with torch.no_grad():
        run_stages(stages, pictures)
    load_seconds = time.perf_counter() - begin
    cost = count_model(_Network(model), size)
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


class _Network(nn.Module):
    """What of a model is counted: from normalised pictures to maps."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, x: Tensor) -> Any:
        if isinstance(self.model, SSD):
            return self.model.head(list(self.model.backbone(x).values()))
        return self.model(x)


def _input_size(
    model: nn.Module, picture: np.ndarray, asked: tuple[int, int] | None
) -> tuple[int, int]:
    if hasattr(model, 'transform'):
        if asked:
            raise UserError(
                f'{type(model).__name__} of torchvision resizes pictures itself; '
                'leave --size out, or give each size a run of its own'
            )
        transform = model.transform
        x = _to_tensors([picture], 'cpu')
        height, width = transform(x)[0].image_sizes[0]
        return width, height
    if asked:
        return asked
    is_segmenter = hasattr(model, 'classifier') and hasattr(model, 'backbone')
    return picture.shape[1::-1] if is_segmenter else (224, 224)


def torchvision_stages(model: nn.Module, size: tuple[int, int]) -> Stages:
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
            for values in (_MEAN, _STD)
        )

        def pre(pictures: Sequence[np.ndarray]) -> Tensor:
            resized = [cv2.resize(picture, size) for picture in pictures]
            return (torch.stack(_to_tensors(resized, device)) - mean) / std

        if hasattr(model, 'classifier') and hasattr(model, 'backbone'):
            stages = {
                PRE: pre,
                NETWORK: lambda x: (
                    model.classifier(model.backbone(x)['out'])
                    if not _takes_all_maps(model)
                    else model.classifier(model.backbone(x))
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


def _detector_stages(model: nn.Module, device: torch.device) -> Stages:
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


def _takes_all_maps(model: nn.Module) -> bool:
    """LR-ASPP's classifier takes a dictionary of maps, the others' the last one."""
    return isinstance(model, torchvision.models.segmentation.LRASPP)


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
