"""Checkpoints that mmengine does not know by itself: formats, and other projects'.

It reads files with ``torch.load`` alone; here are ``.safetensors`` and those of
TensorFlow too, local ones and those behind ``https://``, so that ``load_from``,
``Pretrained``, ``init_model`` and the toolboxes' own tools take them. It
knows ``torchvision://`` for classifiers alone (an omission of 0.10.7: it lists
``torchvision.models`` without what is in its subfolders); here are its detectors and
segmenters, ``timm://``, and ``zoo://`` for what the paper's authors published.
What is downloaded stays in the cache of torch.hub, or of timm.
"""

from __future__ import annotations

from typing import Any

from mmengine.runner.checkpoint import (
    CheckpointLoader,
    load_from_http,
    load_from_torchvision,
)
from torch import Tensor

from mmnv3.engine.checkpoints import OTHER_FILES, read_checkpoint
from mmnv3.engine.zoo import ADDRESS, cached_file, download, local_file
from mmnv3.errors import UserError
from mmnv3.files import whole_or_absent

_TORCHVISION, _TIMM = 'torchvision://', 'timm://'


# mmengine looks for the pattern at the beginning of a name; addresses come before.
@CheckpointLoader.register_scheme(prefixes=[f'.*{end}' for end in OTHER_FILES])
def load_from_other_file(
    filename: str, map_location: str | None = None
) -> dict[str, Tensor]:
    """Loads a local file that PyTorch did not write.

    Args:
        filename: Its path.
        map_location: Not used; the tensors are on the CPU.

    Raises:
        UserError: When it is missing or damaged.
    """
    return read_checkpoint(filename).state


# What follows a question mark, as `?download=true`, is for the server.
@CheckpointLoader.register_scheme(
    prefixes=[rf'https?://.*{end[:-1]}(\?.*)?$' for end in OTHER_FILES]
)
def load_from_other_address(
    filename: str, map_location: str | None = None
) -> dict[str, Tensor]:
    """Loads a file of the web that PyTorch did not write; it stays in the cache.

    Args:
        filename: Its address.
        map_location: Not used; the tensors are on the CPU.

    Raises:
        UserError: When it cannot be fetched, or is damaged.
    """
    file = cached_file(filename)
    if not file.is_file():
        with whole_or_absent(file) as partial:
            download(filename, partial, filename)
    try:
        return read_checkpoint(file).state
    except UserError as error:
        raise UserError(f'{error}; remove it, and it is downloaded again') from None


@CheckpointLoader.register_scheme(prefixes=_TORCHVISION, force=True)
def load_any_from_torchvision(
    filename: str, map_location: str | None = None
) -> dict[str, Any]:
    """Loads published weights of torchvision.

    Args:
        filename: As ``torchvision://ssdlite320_mobilenet_v3_large``, or with the name
            of one of several weights behind a dot.
        map_location: See ``torch.load``.

    Raises:
        UserError: When torchvision has no such network or weights.
    """
    from torchvision import models

    name, _, wanted = filename.removeprefix(_TORCHVISION).partition('.')
    parts = (models.detection, models.segmentation)
    if not any(name in models.list_models(module=part) for part in parts):
        return load_from_torchvision(filename, map_location)
    weights = models.get_model_weights(name)
    try:
        chosen = weights[wanted.upper() or 'DEFAULT']
    except KeyError:
        raise UserError(
            f'{filename}: torchvision has no such weights; possible: '
            f'{", ".join(f"{name}.{each.name.lower()}" for each in weights)}'
        ) from None
    return load_from_http(chosen.url, map_location)


@CheckpointLoader.register_scheme(prefixes=_TIMM)
def load_from_timm(filename: str, map_location: str | None = None) -> dict[str, Tensor]:
    """Loads published weights of timm.

    Args:
        filename: As ``timm://mobilenetv3_large_100``, or with a tag behind a dot, as
            timm writes it.
        map_location: Not used; the tensors are on the CPU.

    Raises:
        UserError: When timm is not installed, or has no such weights.
    """
    try:
        import timm
    except ImportError:
        raise UserError(f'{filename} needs timm; pip install timm') from None
    name = filename.removeprefix(_TIMM)
    if not timm.is_model(name) or not timm.is_model_pretrained(name):
        raise UserError(f'{filename}: timm publishes no such weights')
    return timm.create_model(name, pretrained=True).state_dict()


@CheckpointLoader.register_scheme(prefixes=ADDRESS)
def load_from_zoo(filename: str, map_location: str | None = None) -> dict[str, Tensor]:
    """Loads a file of the paper's authors.

    Args:
        filename: As ``zoo://ssd_mobilenet_v3_large_coco_2020_01_14``, see
            :data:`mmnv3.engine.zoo.PUBLISHED`.
        map_location: Not used; the tensors are on the CPU.

    Raises:
        UserError: When it cannot be fetched, see :func:`mmnv3.engine.zoo.local_file`,
            or read.
    """
    return read_checkpoint(local_file(filename)).state
