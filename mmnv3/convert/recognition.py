"""What network a state dict holds, or a list of what keeps it from being one."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn

from mmnv3.arch import (
    NetSpec,
    Network,
    find_taps,
    get_spec,
    list_layers,
    ssdlite_levels,
)
from mmnv3.arch.layers import SQUEEZE_EXCITE
from mmnv3.convert.formats import CheckpointFormat
from mmnv3.convert.naming import Part
from mmnv3.engine.checkpoints import KeyDifferences, describe_shapes
from mmnv3.errors import UserError
from mmnv3.models import LRASPPHead, MobileNetV3ClsHead, SSDLiteHead, SSDLiteNeck

# Where the rows tell the number of classes, and how many rows each has.
_CLASSES = {
    'classification': ('head.fc.weight', 1),
    'segmentation': ('decode_head.conv_seg.weight', 1),
    'detection': ('bbox_head.cls_convs.1.1.weight', 6),
}


@dataclass(frozen=True)
class Contents:
    """What a checkpoint was found to hold.

    Args:
        form: Its format.
        arch: The network of the zoo, or a config's own.
        width: The multiplier of a network of the zoo.
        tail: Its tail.
        num_classes: Outputs per anchor, pixel or picture, background included; None
            where there is no head.
    """

    form: CheckpointFormat
    arch: str | NetSpec
    width: float = 1.0
    tail: str | None = None
    num_classes: int | None = None

    @property
    def spec(self) -> NetSpec:
        """The network's table."""
        return get_spec(self.arch, self.width, self.tail)

    def __str__(self) -> str:
        if isinstance(self.arch, NetSpec):
            network = self.arch.name
        else:
            tail = f', {self.tail} tail' if self.tail else ''
            network = f'{self.arch} at width {self.width:g}{tail}'
        classes = f', {self.num_classes} classes' if self.num_classes else ''
        return f'{self.form.project} {self.form.task}: {network}{classes}'


@dataclass(frozen=True)
class Misfit:
    """The keys of a file that keep it from being a network."""

    network: Contents
    keys: KeyDifferences


class MisfitError(UserError):
    """A file that fits no network that is known; :attr:`misfit` lists its keys."""

    def __init__(self, misfit: Misfit, reason: str) -> None:
        super().__init__(f'{misfit.keys}; {reason}; nothing was converted')
        self.misfit = misfit


def recognise(
    given: Mapping[str, Tensor],
    forms: Sequence[CheckpointFormat],
    spec: NetSpec | None = None,
) -> tuple[Contents, dict[str, torch.Size]]:
    """Finds what a state dict holds.

    Args:
        given: Its tensors.
        forms: Formats that it may have.
        spec: A network that it may hold, besides those of the zoo.

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
    # The backbone's shapes cost little, and no head makes a misfit smaller: heads are
    # built only where the whole may still be nearest.
    bounds = []
    for at, network in enumerate(_candidates(forms, given, spec)):
        backbone = dict(_backbone_shapes(network.spec))
        bound = _distance(_compare(given, network, backbone))
        bounds.append((bound, at, network))
        if not any(bound):
            shapes = _all_shapes(network, given)
            if not _compare(given, network, shapes, heads=True).keys:
                return network, shapes
    nearest: tuple[tuple[int, int], int, Misfit] | None = None
    for bound, at, network in sorted(bounds, key=lambda each: each[:2]):
        if nearest and bound > nearest[0]:
            break
        misfit = _compare(given, network, _all_shapes(network, given), heads=True)
        found = (_distance(misfit), at, misfit)
        nearest = min(nearest or found, found, key=lambda each: each[:2])
    assert nearest
    misfit = nearest[2]
    raise MisfitError(
        misfit,
        f'nearest is {misfit.network}; possible: {_describe_widths(misfit, forms)}',
    )


def _distance(misfit: Misfit) -> tuple[int, int]:
    """Layers tell the network, and then shapes its width."""
    keys = misfit.keys
    return len(keys.missing) + len(keys.unexpected), len(keys.misshaped)


def _describe_widths(misfit: Misfit, forms: Sequence[CheckpointFormat]) -> str:
    """The widths in which a network is known."""
    arch, task = misfit.network.arch, misfit.network.form.task
    if isinstance(arch, NetSpec):
        return arch.name
    widths = sorted(
        {
            width
            for form in forms
            if form.task == task and arch in form.archs
            for width in form.widths
        }
    )
    plural = 's' if len(widths) > 1 else ''
    return f'{arch} at width{plural} {", ".join(f"{width:g}" for width in widths)}'


def _candidates(
    forms: Sequence[CheckpointFormat],
    given: Mapping[str, Tensor],
    spec: NetSpec | None,
) -> Iterator[Contents]:
    for form in forms:
        choices = itertools.product(form.archs, form.widths, form.tails)
        for network in (
            *(Contents(form, *choice) for choice in choices),
            *([Contents(form, spec)] if spec and form.holds(spec) else []),
        ):
            try:
                classes = _count_classes(given, form, network.spec)
            except UserError:  # Not every network has every tail and width.
                continue
            yield replace(network, num_classes=classes)


def _count_classes(
    given: Mapping[str, Tensor], form: CheckpointFormat, spec: NetSpec
) -> int | None:
    if form.task not in _CLASSES:
        return None
    ours, rows = _CLASSES[form.task]
    for part in form.parts(spec, given):
        for key, theirs in part.keys():
            if key == ours and theirs in given:
                return len(given[theirs]) // rows
    return None


def _compare(
    given: Mapping[str, Tensor],
    network: Contents,
    shapes: Mapping[str, torch.Size],
    heads: bool = False,
) -> Misfit:
    """Compares a file with a network.

    Args:
        given: The file's tensors.
        network: The network.
        shapes: Of our tensors.
        heads: Whether these are all of them; else those of the backbone.
    """
    parts = network.form.parts(network.spec, given)
    pairs = [
        pair
        for part in parts
        for pair in part.keys()
        # Some networks have no hidden layer in their head.
        if not heads or pair[0] in shapes
    ]
    compared = [pair for pair in pairs if pair[0] in shapes]
    missing = [
        theirs
        for _, theirs in compared
        if theirs not in given and not theirs.endswith('num_batches_tracked')
    ]
    misshaped = [
        describe_shapes(theirs, given[theirs].shape, shapes[ours])
        for ours, theirs in compared
        if theirs in given and _squeezed(given[theirs].shape) != _squeezed(shapes[ours])
    ]
    known = {theirs for _, theirs in pairs}
    unexpected = [
        key for key in given if key not in known and not is_ignored(key, network.form)
    ]
    keys = KeyDifferences(tuple(missing), tuple(unexpected), tuple(misshaped))
    return Misfit(network, keys)


def _all_shapes(
    network: Contents, given: Mapping[str, Tensor]
) -> dict[str, torch.Size]:
    """Names and shapes of our tensors, in a network of which a file holds parts."""
    parts = network.form.parts(network.spec, given)
    heads = _build_heads(network, parts, given).state_dict()
    shapes = dict(_backbone_shapes(network.spec))
    return {**shapes, **{key: value.shape for key, value in heads.items()}}


def is_ignored(key: str, form: CheckpointFormat) -> bool:
    """Whether a key belongs to a head that has no counterpart here."""
    return key.startswith(form.ignored) if form.ignored else False


def _squeezed(shape: Sequence[int]) -> tuple[int, ...]:
    """A linear layer and a 1×1 convolution are the same."""
    shape = tuple(shape)
    return shape[:2] if shape[2:] == (1, 1) else shape


def _backbone_shapes(spec: NetSpec) -> Iterator[tuple[str, torch.Size]]:
    """Names and shapes of our backbone's tensors."""
    for layer in list_layers(Network(spec)):
        for path, (channels, out) in layer.weights().items():
            name, width = f'backbone.{path}', torch.Size([out])
            if layer.kind == SQUEEZE_EXCITE:
                yield f'{name}.weight', torch.Size([out, channels, 1, 1])
                yield f'{name}.bias', width
                continue
            kernel = (layer.kernel, layer.kernel)
            yield f'{name}.conv.weight', torch.Size([out, channels, *kernel])
            for part in ('weight', 'bias', 'running_mean', 'running_var'):
                yield f'{name}.bn.{part}', width
            yield f'{name}.bn.num_batches_tracked', torch.Size([])


def _build_heads(
    network: Contents, parts: Sequence[Part], given: Mapping[str, Tensor]
) -> nn.Module:
    """Builds what a checkpoint holds beside the backbone, without memory for weights.

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
        target = nn.ModuleDict()
        if 'head' in held:
            target['head'] = MobileNetV3ClsHead(
                classes, spec.out_channels, spec.head and spec.head.out
            )
        if 'bbox_head' in held:
            taps = tuple(tap.channels for tap in find_taps(spec, ('C4', 'C5')))
            target['neck'] = SSDLiteNeck(taps)
            target['bbox_head'] = SSDLiteHead(
                classes,
                ssdlite_levels(taps),
                dict(type='mmnv3.SSDLiteAnchorGenerator', layout=network.form.layout),
            )
        if 'decode_head' in held:
            target['decode_head'] = LRASPPHead(
                classes,
                (width('decode_head.low_seg', 1, 120), spec.out_channels),
                width('decode_head.conv', 0, 128),
            )
    return target
