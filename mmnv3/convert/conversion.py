"""From the tensors of one project to those of another, classes in their order."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace

import torch
from torch import Tensor

from mmnv3.arch import NetSpec
from mmnv3.convert.formats import FORMATS, OURS
from mmnv3.convert.recognition import Contents, is_ignored, recognise
from mmnv3.errors import UserError

# The ids from 1 to 90 that COCO announced and never used.
_UNUSED = (12, 26, 29, 30, 45, 66, 68, 69, 71, 83)
COCO_IDS = tuple(number for number in range(1, 91) if number not in _UNUSED)

# Batch normalisation that does nothing, where a file has it folded into its kernels:
# with TensorFlow's eps, which is that of their formats.
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
    network: Contents
    left_out: tuple[str, ...] = ()


def to_ours(
    given: Mapping[str, Tensor],
    project: str,
    num_classes: int | None = None,
    spec: NetSpec | None = None,
) -> Converted:
    """Converts a foreign state dict.

    Args:
        given: Its tensors.
        project: One of ``mmnv3.convert.formats.PROJECTS``.
        num_classes: Classes wanted: 1000 drops the background that TensorFlow's
            classifiers have first; 80 drops the ten ids that COCO left out from
            torchvision's and TensorFlow's detectors. None keeps all.
        spec: A network that it may hold besides those of the zoo, as a config's own.

    Returns:
        Tensors under our names. A detector's background comes last, as in mmdet.

    Raises:
        UserError: For an unknown project.
        MisfitError: When the file is none of the project's networks.
    """
    forms = [form for form in FORMATS if form.project == project]
    network, shapes = recognise(given, forms, spec)
    state = {}
    for part in network.form.parts(network.spec, given):
        for ours, theirs in part.keys():
            if theirs in given:
                state[ours] = given[theirs].reshape(shapes[ours])
    for key, shape in shapes.items():
        if key not in state:
            state[key] = _neutral(key, shape)
    if network.form.task == 'detection':
        state = (
            _swap_axes(_each_anchor(state, lambda rows: rows[:, 1:]))
            if network.form.layout == 'tensorflow'
            else _background_last(state)
        )
    left_out = tuple(key for key in given if is_ignored(key, network.form))
    converted = Converted(state, network, left_out)
    return select_classes(converted, num_classes) if num_classes else converted


def from_ours(
    given: Mapping[str, Tensor], project: str, spec: NetSpec | None = None
) -> Converted:
    """Converts our state dict into a project's.

    Args:
        given: Its tensors.
        project: One of ``mmnv3.convert.formats.PROJECTS``.
        spec: A network that it may hold besides those of the zoo, as a config's own.

    Raises:
        UserError: When the project has no such network.
        MisfitError: When the tensors are none of our networks.
    """
    network, _ = recognise(given, OURS, spec)
    forms = [
        form
        for form in FORMATS
        if form.project == project
        and form.task in (network.form.task, 'backbone')
        and form.holds(network.arch, network.width, network.tail)
        and form.layout == network.form.layout
    ]
    if not forms or project == 'tflite':
        raise UserError(f'{project} has no network that could hold {network}')
    form = forms[0]
    if form.task == 'detection' and form.layout == 'tensorflow':
        # A class that nothing scores and nothing reads.
        given = _each_anchor(
            _swap_axes(given),
            lambda rows: torch.cat([torch.zeros_like(rows[:, :1]), rows], 1),
        )
    elif form.task == 'detection':
        given = _background_first(given)
    state = {}
    for part in form.parts(network.spec, None):
        for ours, theirs in part.keys():
            if ours in given:
                state[theirs] = given[ours]
        if project == 'timm' and part.ours == 'head.hidden':
            # timm keeps it a convolution.
            key = f'{part.conv}.weight'
            state[key] = state[key][..., None, None]
    return Converted(state, network)


def _neutral(key: str, shape: torch.Size) -> Tensor:
    """What a tensor is that a file does not have."""
    name = key.rsplit('.', 1)[1] if '.bn.' in key else 'bias'
    dtype = torch.int64 if name == 'num_batches_tracked' else torch.float32
    return torch.full(shape, _NEUTRAL[name], dtype=dtype)


def _background_last(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Moves a detector's first class, torchvision's background, to the end."""
    return _each_anchor(state, lambda rows: torch.cat([rows[:, 1:], rows[:, :1]], 1))


def _background_first(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Moves a detector's last class, mmdet's background, to the front."""
    return _each_anchor(state, lambda rows: torch.cat([rows[:, -1:], rows[:, :-1]], 1))


def select_classes(converted: Converted, wanted: int) -> Converted:
    """Leaves out what a config with fewer classes does not know.

    Args:
        converted: With all classes of its file, a detector's background last.
        wanted: Classes of the config, without background.

    Raises:
        UserError: When it is not known which outputs those are.
    """
    state, given = converted.state, converted.network.num_classes
    detector = 'bbox_head.cls_convs.0.1.weight' in state
    if given is None or given == wanted + detector:
        return converted
    if detector and (given, wanted) == (91, 80):
        # Ids from 1 stand from 0 here, and a background that is kept is last.
        kept = [number - 1 for number in COCO_IDS]
        state = _each_anchor(
            state, lambda rows: torch.cat([rows[:, kept], rows[:, 90:]], 1)
        )
        return replace(converted, state=state)
    if not detector and (given, wanted) == (1001, 1000):
        # TensorFlow's ImageNet classifiers begin with a background.
        state = {
            key: value[1:] if key.startswith('head.fc.') else value
            for key, value in state.items()
        }
        return replace(converted, state=state)
    raise UserError(
        f'the file has {given} outputs, {wanted} classes are wanted, and nobody says '
        'which are which; set num_classes to what the file has'
    )


def _each_anchor(
    state: Mapping[str, Tensor], edit: Callable[[Tensor], Tensor]
) -> dict[str, Tensor]:
    """Edits the classes of every anchor of every level, (anchors, classes, ...)."""
    edited = dict(state)
    for key, value in state.items():
        if key.startswith('bbox_head.cls_convs.') and key.split('.')[3] == '1':
            anchors = count_anchors(state, int(key.split('.')[2]))
            edited[key] = edit(value.unflatten(0, (anchors, -1))).flatten(0, 1)
    return edited


def count_anchors(state: Mapping[str, Tensor], level: int) -> int:
    """The anchors of a cell of a level, by the four numbers that each has for a box."""
    return len(state[f'bbox_head.reg_convs.{level}.1.bias']) // 4


def _swap_axes(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Puts x before y in a detector's boxes, or y before x."""
    return {
        key: value.unflatten(0, (-1, 4))[:, [1, 0, 3, 2]].flatten(0, 1)
        if key.startswith('bbox_head.reg_convs.') and key.split('.')[3] == '1'
        else value
        for key, value in state.items()
    }
