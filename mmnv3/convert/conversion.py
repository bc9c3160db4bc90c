"""From the tensors of one project to those of another."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import torch
from torch import Tensor

from mmnv3.convert.classes import background_first, background_last, select_classes
from mmnv3.convert.formats import FORMATS, OURS
from mmnv3.convert.recognition import Network, is_ignored, recognise
from mmnv3.errors import UserError

# Batch normalisation that does nothing, where a file has it folded into its kernels.
_EPS = 1e-3
_NEUTRAL = {
    'weight': 1.0,
    'bias': 0.0,
    'running_mean': 0.0,
    'running_var': 1.0 - _EPS,
    'num_batches_tracked': 0,
}


@dataclass(frozen=True)
class Converted:
    """A state dict and where it came from.

    Args:
        state: Its tensors.
        network: What it is.
        left_out: Foreign keys of heads that have no counterpart.
    """

    state: dict[str, Tensor] = field(repr=False)
    network: Network
    left_out: tuple[str, ...] = ()


def to_ours(
    given: Mapping[str, Tensor], project: str, num_classes: int | None = None
) -> Converted:
    """Converts a foreign state dict.

    Args:
        given: Its tensors.
        project: One of ``mmnv3.convert.formats.PROJECTS``.
        num_classes: Classes wanted: 1000 drops the background that TensorFlow's
            classifiers have first; 80 drops the ten ids that COCO left out from
            torchvision's detector. None keeps all.

    Returns:
        Tensors under our names. A detector's background comes last, as in mmdet.

    Raises:
        UserError: For an unknown project.
        MisfitError: When the file is none of the project's networks.
    """
    network, shapes = recognise(given, [f for f in FORMATS if f.project == project])
    state = {}
    for part in network.form.parts(network.spec, given):
        for ours, theirs in part.keys():
            if theirs in given:
                state[ours] = given[theirs].reshape(shapes[ours])
    for key, shape in shapes.items():
        if key not in state:
            state[key] = _neutral(key, shape)
    if network.form.task == 'detection':
        state = background_last(state)
    if num_classes:
        state = select_classes(state, network.num_classes, num_classes)
    left_out = tuple(key for key in given if is_ignored(key, network.form))
    return Converted(state, network, left_out)


def from_ours(given: Mapping[str, Tensor], project: str) -> Converted:
    """Converts our state dict into a project's.

    Raises:
        UserError: When the project has no such network.
        MisfitError: When the tensors are none of our networks.
    """
    network, _ = recognise(given, OURS)
    forms = [
        form
        for form in FORMATS
        if form.project == project
        and (form.task in (network.form.task, 'backbone'))
        and network.arch in form.archs
        and network.width in form.widths
        and network.tail in form.tails
    ]
    if not forms or project == 'tflite':
        raise UserError(f'{project} has no network that could hold {network}')
    form = forms[0]
    if form.task == 'detection':
        given = background_first(given)
    state = {}
    for part in form.parts(network.spec, None):
        for ours, theirs in part.keys():
            if ours in given:
                state[theirs] = given[ours]
        if part.conv == 'conv_head':
            # timm keeps the hidden layer a convolution.
            key = f'{part.conv}.weight'
            state[key] = state[key][..., None, None]
    return Converted(state, network)


def _neutral(key: str, shape: torch.Size) -> Tensor:
    """What a tensor is that a file does not have."""
    name = key.rsplit('.', 1)[1] if '.bn.' in key else 'bias'
    dtype = torch.int64 if name == 'num_batches_tracked' else torch.float32
    return torch.full(shape, _NEUTRAL[name], dtype=dtype)
