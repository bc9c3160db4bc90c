"""Weights to start from: which can be had, and what they ask for."""

from __future__ import annotations

import socket
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlparse

import torch

from mmnv3.convert.conversion import to_ours
from mmnv3.convert.differences import trained_with
from mmnv3.convert.files import guess_project, is_foreign, read_state
from mmnv3.convert.pretrained import ForeignPretrained
from mmnv3.models import MobileNetV3

_PATIENCE_SECONDS = 3


@dataclass(frozen=True)
class Weights:
    """Weights that a backbone starts from.

    Attributes:
        source: A file, or an address.
        padding: With which they were trained; None where nobody knows.
        eps: Of their batch normalisation; None where nobody knows.
        folded: Whether their normalisation is folded into their kernels.
    """

    source: str
    padding: str | None
    eps: float | None
    folded: bool


def look_at_weights(source: str, network: str, tail: str | None) -> Weights:
    """Tries weights on the backbone that they are for.

    Args:
        source: A file, or an address.
        network: Of the zoo.
        tail: Its tail.

    Raises:
        UserError: When they cannot be read, or are another network's.
    """
    if '://' not in source:
        source = str(Path(source).expanduser().resolve())
    backbone = MobileNetV3(arch=network, tail=tail)
    ForeignPretrained(source)(backbone)
    given = read_state(source)
    if not is_foreign(given):
        return Weights(source, None, None, False)
    project = guess_project(source, given)
    form = to_ours(given, project, spec=backbone.spec).network.form
    eps, padding = trained_with(form, source)
    return Weights(source, padding, eps, project == 'tflite')


def find_published(network: str) -> str | None:
    """The address of torchvision's ImageNet weights, where they can be had.

    Args:
        network: Of the zoo.

    Returns:
        None where they are neither on this machine nor within reach, or where
        torchvision has no such network.
    """
    from torchvision import models

    name = f'mobilenet_v3_{network}'
    if name not in models.list_models(module=models):
        return None
    url = urlparse(models.get_model_weights(name)['DEFAULT'].url)
    kept = Path(torch.hub.get_dir()) / 'checkpoints' / Path(url.path).name
    if not kept.is_file():
        try:
            socket.create_connection((url.hostname, 443), _PATIENCE_SECONDS).close()
        except OSError:
            return None
    return f'torchvision://{name}'
