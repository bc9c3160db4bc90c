"""From the tensors of one project to those of another, or a list of what differs."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn

from mmnv3.arch import NetSpec, find_taps, get_spec
from mmnv3.convert.classes import background_first, background_last, select_classes
from mmnv3.convert.formats import FORMATS, OURS, Format
from mmnv3.convert.parts import Part
from mmnv3.errors import UserError
from mmnv3.models import LRASPPHead, MobileNetV3, MobileNetV3ClsHead, SSDLiteHead
from mmnv3.models.necks import SSDLiteNeck

# Batch normalisation that does nothing, where a file has it folded into its kernels.
_EPS = 1e-3
_NEUTRAL = {
    'weight': 1.0,
    'bias': 0.0,
    'running_mean': 0.0,
    'running_var': 1.0 - _EPS,
    'num_batches_tracked': 0,
}
# Where the rows tell the number of classes, and how many rows each has.
_CLASSES = {
    'classification': ('head.fc.weight', 1),
    'segmentation': ('decode_head.conv_seg.weight', 1),
    'detection': ('bbox_head.cls_convs.1.1.weight', 6),
}


@dataclass(frozen=True)
class Network:
    """What a checkpoint was found to hold.

    Args:
        form: Its format.
        arch: The network of the zoo.
        width: Its width multiplier.
        tail: Its tail.
        num_classes: Outputs per anchor, pixel or picture, background included; None
            where there is no head.
    """

    form: Format
    arch: str
    width: float
    tail: str | None
    num_classes: int | None = None

    @property
    def spec(self) -> NetSpec:
        """The network's table."""
        return get_spec(self.arch, self.width, self.tail)

    def __str__(self) -> str:
        tail = f', {self.tail} tail' if self.tail else ''
        classes = f', {self.num_classes} classes' if self.num_classes else ''
        return (
            f'{self.form.project} {self.form.task}: {self.arch} at width '
            f'{self.width:g}{tail}{classes}'
        )


@dataclass(frozen=True)
class Misfit:
    """The keys of a file that keep it from being a network, by name."""

    network: Network
    missing: tuple[str, ...] = ()
    unexpected: tuple[str, ...] = ()
    misshaped: tuple[str, ...] = ()

    @property
    def size(self) -> int:
        """How many there are."""
        return len(self.missing) + len(self.unexpected) + len(self.misshaped)

    def lines(self) -> Iterator[str]:
        """The report, a line for every key."""
        yield f'nearest is {self.network}'
        for kind in ('missing', 'unexpected', 'misshaped'):
            for key in getattr(self, kind):
                yield f'  {kind}: {key}'


class MisfitError(UserError):
    """A file that fits no network that is known; :attr:`misfit` lists its keys."""

    def __init__(self, misfit: Misfit) -> None:
        super().__init__(
            f'{len(misfit.missing)} keys are missing, {len(misfit.unexpected)} '
            f'unexpected and {len(misfit.misshaped)} of another shape; nothing was '
            'converted'
        )
        self.misfit = misfit


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
    left_out = tuple(key for key in given if _ignored(key, network.form))
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
        if 'head.' in part.ours and project == 'timm' and part.conv == 'conv_head':
            # timm keeps the hidden layer a convolution.
            key = f'{part.conv}.weight'
            state[key] = state[key][..., None, None]
    return Converted(state, network)


def recognise(
    given: Mapping[str, Tensor], forms: Sequence[Format]
) -> tuple[Network, dict[str, torch.Size]]:
    """Finds what a state dict holds.

    Returns:
        The network, and the shapes of our tensors.

    Raises:
        UserError: When no format is known by these keys.
        MisfitError: When the keys or shapes are of none of its networks.
    """
    forms = [form for form in forms if form.mark in given]
    if not forms:
        first = ', '.join(list(given)[:3])
        raise UserError(
            f'no layer has a name that is known; the first are {first}; give the '
            'project that the file comes from with --from'
        )
    misfits = []
    for network in _candidates(forms, given):
        misfit, shapes = _compare(given, network)
        if not misfit.size:
            return network, shapes
        misfits.append(misfit)
    raise MisfitError(min(misfits, key=lambda misfit: misfit.size))


def _candidates(
    forms: Sequence[Format], given: Mapping[str, Tensor]
) -> Iterator[Network]:
    for form in forms:
        for arch in form.archs:
            for width in form.widths:
                for tail in form.tails:
                    try:
                        spec = get_spec(arch, width, tail)
                    except ValueError:
                        continue
                    network = Network(form, arch, width, tail)
                    yield Network(
                        form, arch, width, tail, _count_classes(given, network, spec)
                    )


def _count_classes(
    given: Mapping[str, Tensor], network: Network, spec: NetSpec
) -> int | None:
    if network.form.task not in _CLASSES:
        return None
    ours, rows = _CLASSES[network.form.task]
    for part in network.form.parts(spec, given):
        for key, theirs in part.keys():
            if key == ours and theirs in given:
                return len(given[theirs]) // rows
    return None


def _compare(
    given: Mapping[str, Tensor], network: Network
) -> tuple[Misfit, dict[str, torch.Size]]:
    parts = network.form.parts(network.spec, given)
    shapes = {
        key: value.shape
        for key, value in build_target(network, parts, given).state_dict().items()
    }
    pairs = [pair for part in parts for pair in part.keys()]
    missing = [
        theirs
        for _, theirs in pairs
        if theirs not in given and not theirs.endswith('num_batches_tracked')
    ]
    misshaped = [
        f'{theirs} is {tuple(given[theirs].shape)}, wanted {tuple(shapes[ours])}'
        for ours, theirs in pairs
        if theirs in given
        and _squeezed(given[theirs].shape) != _squeezed(shapes.get(ours, ()))
    ]
    known = {theirs for _, theirs in pairs}
    unexpected = [
        key for key in given if key not in known and not _ignored(key, network.form)
    ]
    misfit = Misfit(network, tuple(missing), tuple(unexpected), tuple(misshaped))
    return misfit, shapes


def _ignored(key: str, form: Format) -> bool:
    return key.startswith(form.ignored) if form.ignored else False


def _squeezed(shape: Sequence[int]) -> tuple[int, ...]:
    """A linear layer and a 1×1 convolution are the same."""
    shape = tuple(shape)
    return shape[:2] if shape[2:] == (1, 1) else shape


def build_target(
    network: Network, parts: Sequence[Part], given: Mapping[str, Tensor]
) -> nn.Module:
    """Builds what a checkpoint is for, without memory for its weights.

    Args:
        network: The network.
        parts: The layers that the checkpoint holds.
        given: Its tensors; widths that a head may choose are read from them.
    """
    spec, classes = network.spec, network.num_classes or 1
    convs = {part.ours: f'{part.conv}.weight' for part in parts}
    held = {name.split('.')[0] for name in convs}

    def width(name: str, axis: int, default: int) -> int:
        value = given.get(convs[name])
        return default if value is None else value.shape[axis]

    with torch.device('meta'):
        target = nn.ModuleDict(dict(backbone=MobileNetV3(spec)))
        if 'head' in held:
            target['head'] = MobileNetV3ClsHead(
                classes, spec.out_channels, spec.head and spec.head.out
            )
        if 'bbox_head' in held:
            taps = tuple(tap.channels for tap in find_taps(spec, ('C4', 'C5')))
            target['neck'] = SSDLiteNeck(taps)
            target['bbox_head'] = SSDLiteHead(
                max(classes - 1, 1),
                (*taps, 512, 256, 256, 128),
                dict(type='mmnv3.SSDLiteAnchorGenerator', layout='torchvision'),
                loss_cls=None,
            )
        if 'decode_head' in held:
            target['decode_head'] = LRASPPHead(
                classes,
                (width('decode_head.low_seg', 1, 120), spec.out_channels),
                width('decode_head.conv', 0, 128),
            )
    return target


def _neutral(key: str, shape: torch.Size) -> Tensor:
    """What a tensor is that a file does not have."""
    name = key.rsplit('.', 1)[1] if '.bn.' in key else 'bias'
    dtype = torch.int64 if name == 'num_batches_tracked' else torch.float32
    return torch.full(shape, _NEUTRAL[name], dtype=dtype)
