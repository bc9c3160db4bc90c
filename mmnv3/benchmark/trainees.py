"""What is trained to time it: models of configs, and torchvision's in a plain loop."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import redirect_stdout
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from mmengine.config import Config
from mmengine.logging import MMLogger
from mmengine.optim import build_optim_wrapper
from mmengine.registry import MODELS, DefaultScope
from mmengine.runner import Runner
from mmengine.structures import InstanceData, PixelData
from mmengine.utils.dl_utils import set_multi_processing
from torch import Tensor, nn
from torch.utils.data import DataLoader

from mmnv3.benchmark.costs import check_device
from mmnv3.benchmark.subject import NOISE_SIZE, TORCHVISION, Request
from mmnv3.benchmark.subjects import find_pretrained
from mmnv3.benchmark.toolbox_subjects import pack, toolbox_size
from mmnv3.benchmark.torchvision_subjects import build_torchvision
from mmnv3.deploy.graph import anchor_size, graph_class
from mmnv3.engine.config import read_config
from mmnv3.errors import UserError
from mmnv3.tasks import DETECTION

# Objects of a noise picture; COCO's have 7 on average.
_OBJECTS = 7
# Random weights stay finite, and a step costs the same at any rate.
_RATE = 1e-6

Batch = dict[str, list]


@dataclass(frozen=True)
class Trainee:
    """A model that is ready to be trained for a few iterations.

    Attributes:
        model: As it was named.
        size: Input, (width, height).
        batch: Pictures of an iteration.
        step: Trains on a batch as the data loader gives it.
        noise: A batch of noise, always the same.
        classes: Classes, without background.
        loader: Builds the config's own data loader.
    """

    model: str
    size: tuple[int, int]
    batch: int
    step: Callable[[Batch], Any]
    noise: Batch
    classes: int
    loader: Callable[[], DataLoader] | None

    @property
    def title(self) -> str:
        """The model's name, without the folders and ending of a config."""
        return self.model.rpartition('/')[-1].removesuffix('.py')


def config_trainee(request: Request) -> Trainee:
    """Makes a config's model ready, with its optimiser and its data loader.

    Raises:
        UserError: When there is no such config, or when it cannot be trained.
    """
    config = read_config(request.model, dict(request.options or {}))
    config.merge_from_dict(dict.fromkeys(find_pretrained(config)))
    if 'train_dataloader' not in config or 'optim_wrapper' not in config:
        raise UserError(
            f'{request.model} has no train_dataloader or no optim_wrapper; --task '
            'train takes configs that tools/train.py can train'
        )
    check_device('pytorch', request.device)
    if request.batch:
        config.train_dataloader.batch_size = request.batch
    if config.get('data_preprocessor'):
        config.model.setdefault('data_preprocessor', config.data_preprocessor)
    torch.manual_seed(0)
    MMLogger.get_current_instance().setLevel('WARNING')
    scope = config.get('default_scope', 'mmdet')
    with DefaultScope.overwrite_default_scope(scope):
        model = MODELS.build(config.model)
        model.init_weights()
        model.to(request.device).train()
        optimizer = build_optim_wrapper(model, config.optim_wrapper)
    for group in optimizer.param_groups:
        group['lr'] = _RATE
    asked = request.size or _anchor_size(model)
    size = toolbox_size(config, NOISE_SIZE, asked, 'train_dataloader')
    batch = config.train_dataloader.batch_size
    classes = _classes(model)

    def step(data: Batch) -> None:
        losses = model.train_step(data, optimizer)
        # A plain loop looks at its loss, and a GPU has to be waited for.
        float(losses['loss'])

    return Trainee(
        model=request.model,
        size=size,
        batch=batch,
        step=step,
        noise=noise_batch(model, size, batch, classes),
        classes=classes,
        loader=None if request.size else lambda: _build_loader(config, scope),
    )


def torchvision_trainee(request: Request, companion: Trainee) -> Trainee:
    """Makes a detector of torchvision ready, trained by a plain loop.

    Args:
        request: What was asked for.
        companion: The config whose pictures, batch and classes it gets.

    Raises:
        UserError: When there is no such detector.
    """
    check_device('pytorch', request.device)
    # Its background is the first class.
    model = build_torchvision(request.model, num_classes=companion.classes + 1)
    if not hasattr(model, 'transform'):
        raise UserError(
            f'{request.model} has no loss of its own; of torchvision, detectors can be '
            'trained here'
        )
    model.to(request.device).train()
    optimizer = torch.optim.SGD(
        model.parameters(), lr=_RATE, momentum=0.9, weight_decay=4e-5
    )

    def step(data: Batch) -> None:
        images = [_rgb(picture).to(request.device) for picture in data['inputs']]
        targets = [_target(sample, request.device) for sample in data['data_samples']]
        loss = sum(model(images, targets).values())
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        float(loss)

    return Trainee(
        model=request.model,
        size=companion.size,
        batch=companion.batch,
        step=step,
        noise=companion.noise,
        classes=companion.classes,
        loader=companion.loader,
    )


def build_trainees(requests: list[Request]) -> list[Trainee]:
    """Makes everything ready.

    Raises:
        UserError: When torchvision's models have no config beside them, or something
            does not exist.
    """
    configs = [item for item in requests if not item.model.startswith(TORCHVISION)]
    if not configs:
        raise UserError(
            f'{requests[0].model} trains on the pictures of a config; name one before '
            'it, as configs/ssdlite_mnv3_large_coco.py'
        )
    built = {id(request): config_trainee(request) for request in configs}
    companion = built[id(configs[0])]
    return [
        built.get(id(request)) or torchvision_trainee(request, companion)
        for request in requests
    ]


def noise_batch(
    model: nn.Module, size: tuple[int, int], batch: int, classes: int
) -> Batch:
    """Pictures of noise, with as much to learn as real ones have.

    Args:
        model: The model, which decides the kind of the samples.
        size: (width, height).
        batch: Pictures.
        classes: Classes that are drawn from.
    """
    width, height = size
    random = np.random.default_rng(0)
    pictures = random.integers(0, 256, (batch, height, width, 3), np.uint8)
    data = pack(model, list(pictures), size)
    for sample in data['data_samples']:
        if hasattr(sample, 'set_gt_label'):
            sample.set_gt_label(int(random.integers(classes)))
        elif hasattr(model, 'decode_head'):
            labels = torch.from_numpy(random.integers(0, classes, (1, height, width)))
            sample.gt_sem_seg = PixelData(data=labels)
        else:
            corners = random.random((_OBJECTS, 2, 2)) * (width, height)
            corners = np.sort(corners, axis=1)
            corners[:, 1] = np.minimum(corners[:, 1] + 8, (width, height))
            corners[:, 0] = np.minimum(corners[:, 0], corners[:, 1] - 4)
            sample.gt_instances = InstanceData(
                bboxes=torch.from_numpy(corners.reshape(-1, 4)).float(),
                labels=torch.from_numpy(random.integers(0, classes, _OBJECTS)),
            )
            sample.ignored_instances = InstanceData(
                bboxes=torch.zeros(0, 4), labels=torch.zeros(0, dtype=torch.long)
            )
    return data


def batches(loader: DataLoader) -> Iterator[Batch]:
    """The batches of a loader, over and over."""
    while True:
        yield from loader


def _build_loader(config: Config, scope: str) -> DataLoader:
    """The Runner's data loader.

    Raises:
        UserError: When its data is not there.
    """
    set_multi_processing(**config.get('env_cfg', {}).get('mp_cfg', {}))
    try:
        # COCO's reader prints.
        with redirect_stdout(None), DefaultScope.overwrite_default_scope(scope):
            return Runner.build_dataloader(config.train_dataloader, seed=0)
    except (OSError, UserError) as error:
        reason = str(error).strip().splitlines()[-1]
        raise UserError(f'{config.filename}: no training data ({reason})') from None


def _anchor_size(model: nn.Module) -> tuple[int, int] | None:
    try:
        is_ssd = graph_class(model).task == DETECTION
    except UserError:
        return None
    return anchor_size(model) if is_ssd else None


def _classes(model: nn.Module) -> int:
    """The classes that a model is to learn."""
    heads = 'bbox_head', 'decode_head', 'head', 'rpn_head'
    roi_head = getattr(model, 'roi_head', None)
    found = [getattr(model, name) for name in heads if hasattr(model, name)]
    found = [getattr(roi_head, 'bbox_head', None), *found]
    return next(head.num_classes for head in found if hasattr(head, 'num_classes'))


def _rgb(picture: Tensor) -> Tensor:
    """From (3, H, W) uint8 BGR to RGB from 0 to 1."""
    return picture.flip(0).float() / 255


def _target(sample: Any, device: str) -> dict[str, Tensor]:
    boxes = sample.gt_instances.bboxes
    return dict(
        boxes=getattr(boxes, 'tensor', boxes).to(device),
        labels=sample.gt_instances.labels.to(device) + 1,
    )
