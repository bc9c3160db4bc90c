"""A cut network inherits the weights of the one it is cut from.

Of every width that shrank the channels with the largest filters stay (NetAdapt: the
largest L2 norm), in their order; whatever reads or writes those channels follows. Where
nothing was cut, nothing changes.
"""

from __future__ import annotations

import copy
import re
from collections.abc import Hashable, Mapping

import torch
from mmengine.config import Config
from torch import Tensor

from mmnv3.arch import NetSpec, find_taps
from mmnv3.errors import UserError
from mmnv3.search.netadapt.configs import (
    build_shapes,
    config_rules,
    config_spec,
    set_taps,
    with_spec,
)
from mmnv3.search.netadapt.proposals import Rules, groups

# A set of channels that layers share: a bottleneck, an expansion, …
_Space = Hashable
_BACKBONE = 'backbone.'


def inherit(
    config: Config, state: Mapping[str, Tensor], old: NetSpec, new: NetSpec
) -> dict[str, Tensor]:
    """Cuts a model's weights.

    Args:
        config: The seed's config, or one of any network cut from it.
        state: All weights of the model with the old network.
        old: The network they are of.
        new: One with the same layers of the same or smaller widths.

    Returns:
        All weights of the model with the new network.

    Raises:
        UserError: When the networks do not fit each other.
    """
    rules = config_rules(config)
    axes = {
        **_backbone_axes(old, rules),
        **_consumer_axes(config, old),
    }
    kept = _kept(state, old, new, rules)
    cut = {}
    for name, tensor in state.items():
        for dim, space in enumerate(_axes_of(name, axes)):
            if space in kept:
                tensor = tensor.index_select(dim, kept[space].to(tensor.device))
        cut[name] = tensor.clone()
    _check(config, new, cut)
    return cut


def _check(config: Config, new: NetSpec, cut: Mapping[str, Tensor]) -> None:
    for name, tensor in build_shapes(with_spec(config, new)).state_dict().items():
        if name not in cut or cut[name].shape != tensor.shape:
            raise UserError(
                f'{name} cannot be inherited by {new.name!r}: it would be '
                f'{tuple(cut[name].shape) if name in cut else "missing"} and not '
                f'{tuple(tensor.shape)}'
            )


def _axes_of(name: str, axes: Mapping[str, tuple]) -> tuple[_Space, ...]:
    """The spaces of a tensor's dimensions; normalisation has one per layer."""
    for key in (name, re.sub(r'\.bn\.(?!num_batches)\w+$', '.bn', name)):
        if key in axes:
            return axes[key]
    return ()


def _spaces(spec: NetSpec, rules: Rules) -> list[_Space]:
    """The spaces of the outputs of the stem (0) and of every block."""
    return [('out', group[0]) for group in groups(spec, rules) for _ in group]


def _backbone_axes(spec: NetSpec, rules: Rules) -> dict[str, tuple[_Space, ...]]:
    """Which spaces the dimensions of the backbone's tensors are."""
    outs = _spaces(spec, rules)
    axes: dict[str, tuple[_Space, ...]] = {
        'stem.conv.weight': (outs[0],),
        'stem.bn': (outs[0],),
        'last.conv.weight': ('last', outs[-1]),
        'last.bn': ('last',),
    }
    for number, plan in enumerate(rules.plan(spec), 1):
        before, out = outs[number - 1], outs[number]
        inner = ('expand', number) if plan.has_expand else before
        hidden = ('se', number)
        rows = {
            'expand.conv.weight': (inner, before),
            'expand.bn': (inner,),
            'depthwise.conv.weight': (inner,),
            'depthwise.bn': (inner,),
            'se.reduce.weight': (hidden, inner),
            'se.reduce.bias': (hidden,),
            'se.expand.weight': (inner, hidden),
            'se.expand.bias': (inner,),
            'project.conv.weight': (out, inner),
            'project.bn': (out,),
        }
        axes.update({f'{plan.name}.{name}': row for name, row in rows.items()})
    return {_BACKBONE + name: row for name, row in axes.items()}


def _consumer_axes(config: Config, spec: NetSpec) -> dict[str, tuple[_Space, ...]]:
    """Which dimensions of neck and head are a tap's channels.

    It is found out by widening one tap after the other and looking at what widens, so
    that no neck or head has to be known here.
    """
    config = with_spec(config, spec)
    model = build_shapes(config)
    shapes = {name: tensor.shape for name, tensor in model.state_dict().items()}
    channels = [tap.channels for tap in model.backbone.taps]
    axes: dict[str, list[_Space]] = {}
    for index, tap in enumerate(model.backbone.taps):
        wider = copy.deepcopy(config)
        set_taps(wider.model, [c + 8 * (i == index) for i, c in enumerate(channels)])
        for name, tensor in build_shapes(wider).state_dict().items():
            if name.startswith(_BACKBONE) or tensor.shape == shapes[name]:
                continue
            row = axes.setdefault(name, [None] * tensor.ndim)
            for dim, (new, old) in enumerate(zip(tensor.shape, shapes[name])):
                if new != old:
                    row[dim] = _tap_space(tap.name, spec, config_rules(config))
    return {name: tuple(row) for name, row in axes.items()}


def _tap_space(name: str, spec: NetSpec, rules: Rules) -> _Space:
    (tap,) = find_taps(spec, [name], rules.output_stride)
    if tap.layer == 'last':
        return 'last'
    number = 0 if tap.layer == 'stem' else int(tap.layer.removeprefix('block'))
    outs = _spaces(spec, rules)
    if tap.part == 'out':
        return outs[number]
    plan = rules.plan(spec)[number - 1]
    return ('expand', number) if plan.has_expand else outs[number - 1]


def _kept(
    state: Mapping[str, Tensor], old: NetSpec, new: NetSpec, rules: Rules
) -> dict[_Space, Tensor]:
    """The channels that stay, of every space that shrinks."""
    norms = _norms(state, old, rules)
    widths = _widths(new, rules, _spaces(old, rules))
    kept = {}
    for space, norm in norms.items():
        width = widths.get(space, len(norm))
        if width > len(norm):
            raise UserError(
                f'{new.name!r} has {width} channels where {old.name!r} has '
                f'{len(norm)}; weights are inherited by narrower networks only'
            )
        if width < len(norm):
            order = torch.argsort(norm, descending=True, stable=True)
            kept[space] = order[:width].sort().values
    return kept


def _norms(
    state: Mapping[str, Tensor], spec: NetSpec, rules: Rules
) -> dict[_Space, Tensor]:
    """Squared L2 norms of the filters that make a space's channels, summed."""
    makers = ('stem.conv', 'last.conv', 'expand.conv', 'project.conv', 'se.reduce')
    norms: dict[_Space, Tensor] = {}
    for name, row in _backbone_axes(spec, rules).items():
        if name in state and name.endswith(tuple(f'{key}.weight' for key in makers)):
            norm = state[name].double().square().flatten(1).sum(1)
            norms[row[0]] = norms[row[0]] + norm if row[0] in norms else norm
    return norms


def _widths(spec: NetSpec, rules: Rules, outs: list[_Space]) -> dict[_Space, int]:
    """The width of every space in a network with these output spaces."""
    widths: dict[_Space, int] = {outs[0]: spec.stem.out}
    for number, plan in enumerate(rules.plan(spec), 1):
        widths[outs[number]] = plan.spec.out
        widths['expand', number] = plan.spec.expand
        widths['se', number] = plan.se_hidden
    if spec.last:
        widths['last'] = spec.last.out
    return widths


def seed_state(config: Config, state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """A checkpoint's weights, looked at before anything is cut.

    Raises:
        UserError: When they are not those of the config's model.
    """
    spec = config_spec(config)
    return inherit(config, state, spec, spec)
