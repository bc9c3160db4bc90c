"""A cut network inherits the weights of the one it is cut from.

Of every width that shrank the channels with the largest filters stay (NetAdapt: the
largest L2 norm), in their order; whatever reads or writes those channels follows. Of a
block that is left out nothing stays but what it added to. Where nothing was cut,
nothing changes.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import torch
from mmengine.config import Config
from torch import Tensor

from mmnv3.arch import (
    Layer,
    NetSpec,
    Network,
    backbone_taps,
    find_taps,
    list_layers,
)
from mmnv3.arch.layers import CONV, SQUEEZE_EXCITE
from mmnv3.errors import UserError
from mmnv3.search.configs import (
    MODEL_BLOCK,
    build_shapes,
    config_network,
    set_taps,
    with_spec,
)
from mmnv3.search.netadapt.proposals import groups, removable, without_block

# A set of channels that layers share, by the name of the first layer that makes it:
# 'stem', 'block3.expand', 'block3.se.reduce', 'block3.project', 'last'.
Space = str
# The spaces of a tensor's dimensions; None for one that is never cut.
Axes = tuple[Space | None, ...]
_BACKBONE = 'backbone.'


def inherit(
    config: Config, state: Mapping[str, Tensor], old: Network, new: Network
) -> dict[str, Tensor]:
    """Cuts a model's weights.

    Args:
        config: The seed's config, or one of any network cut from it.
        state: All weights of the model with the old network.
        old: The network they are of.
        new: One with the same layers of the same or smaller widths, or without one
            block.

    Returns:
        All weights of the model with the new network.

    Raises:
        UserError: When the networks do not fit each other.
    """
    if len(new.spec.blocks) < len(old.spec.blocks):
        removed = _removed_block(old, new)
        old, state = without_block(old, removed), _without_block(state, removed)
    axes = {**_backbone_axes(old, state), **_consumer_axes(config, state, old)}
    kept = _kept_channels(state, old, new)
    cut = {}
    for name, tensor in state.items():
        for dim, space in enumerate(axes.get(name, ())):
            if space in kept:
                tensor = tensor.index_select(dim, kept[space].to(tensor.device))
        cut[name] = tensor.clone()
    _check(config, new.spec, cut)
    return cut


def _removed_block(old: Network, new: Network) -> int:
    """The block of one network that another lacks; of equal ones the last."""
    for number in reversed(removable(old)):
        if without_block(old, number).spec.blocks == new.spec.blocks:
            return number
    raise UserError(
        f'{new.spec.name!r} has {len(new.spec.blocks)} blocks and '
        f'{old.spec.name!r} {len(old.spec.blocks)}; weights are inherited by '
        'narrower networks, or without one block'
    )


def _without_block(state: Mapping[str, Tensor], removed: int) -> dict[str, Tensor]:
    """The weights without those of a block, and the later blocks by their numbers."""
    kept = {}
    for name, tensor in state.items():
        found = MODEL_BLOCK.match(name)
        number = int(found[1]) if found else 0
        if found and number > removed:
            name = f'{_BACKBONE}block{number - 1}{name[found.end() :]}'
        if number != removed:
            kept[name] = tensor
    return kept


def seed_state(config: Config, state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """A checkpoint's weights, looked at before anything is cut.

    Raises:
        UserError: When they are not those of the config's model.
    """
    network = config_network(config)
    return inherit(config, state, network, network)


def _check(config: Config, new: NetSpec, cut: Mapping[str, Tensor]) -> None:
    for name, tensor in build_shapes(with_spec(config, new)).state_dict().items():
        if name not in cut or cut[name].shape != tensor.shape:
            raise UserError(
                f'{name} cannot be inherited by {new.name!r}: it would be '
                f'{tuple(cut[name].shape) if name in cut else "missing"} and not '
                f'{tuple(tensor.shape)}'
            )


def _layer_spaces(network: Network) -> Iterator[tuple[Layer, Space | None, Space]]:
    """The layers with weights, and the spaces that they read and write.

    What residuals add is of one space.
    """
    shared = {
        f'block{number}.project': f'block{group[0]}.project' if group[0] else 'stem'
        for group in groups(network)
        for number in group
    }
    after: Space | None = None
    for layer in list_layers(network):
        if not layer.weights():
            continue
        before = after
        if layer.kind == CONV:
            after = shared.get(layer.name, layer.name)
        assert after is not None  # The first layer is a convolution.
        yield layer, before, after


def _backbone_axes(network: Network, state: Mapping[str, Tensor]) -> dict[str, Axes]:
    """Which spaces the dimensions of the backbone's tensors are."""
    ends: dict[str, tuple[Space | None, Space]] = {}
    for layer, before, after in _layer_spaces(network):
        if layer.kind == SQUEEZE_EXCITE:
            reduce, expand = layer.weights()
            ends[reduce], ends[expand] = (before, reduce), (reduce, after)
        else:
            # Every channel of a depthwise convolution reads its own.
            ends[layer.name] = before if layer.groups == 1 else None, after
    axes: dict[str, Axes] = {}
    for name, tensor in state.items():
        # As 'block3.expand' of 'backbone.block3.expand.bn.weight'.
        layers = (name.removeprefix(_BACKBONE).rsplit('.', n)[0] for n in (1, 2))
        found = next((ends[layer] for layer in layers if layer in ends), None)
        if found and name.startswith(_BACKBONE) and tensor.ndim:
            before, after = found
            axes[name] = (after, before) if tensor.ndim > 1 else (after,)
    return axes


def _consumer_axes(
    config: Config, state: Mapping[str, Tensor], network: Network
) -> dict[str, Axes]:
    """Which dimensions of neck and head are a tap's channels.

    It is found out by widening every tap by a number of its own and looking at what
    widens by that, so that no neck or head has to be known here.
    """
    config = with_spec(config, network.spec)
    taps = backbone_taps(config.model.backbone)
    spaces = {
        8 << index: _tap_space(tap.name, network) for index, tap in enumerate(taps)
    }
    set_taps(config.model, [tap.channels + by for tap, by in zip(taps, spaces)])
    return {
        name: tuple(
            spaces.get(wide - own) for wide, own in zip(tensor.shape, state[name].shape)
        )
        for name, tensor in build_shapes(config).state_dict().items()
        if name in state and not name.startswith(_BACKBONE)
    }


def _tap_space(name: str, network: Network) -> Space:
    (tap,) = find_taps(network.spec, [name], network.output_stride)
    layer = tap.layer
    if layer.startswith('block'):
        layer += '.project' if tap.part == 'out' else f'.{tap.part}'
    return next(
        after for each, _, after in _layer_spaces(network) if each.name == layer
    )


def _kept_channels(
    state: Mapping[str, Tensor], old: Network, new: Network
) -> dict[Space | None, Tensor]:
    """The channels that stay, of every space that shrinks."""
    widths = _widths(old, new)
    kept: dict[Space | None, Tensor] = {}
    for space, norm in _norms(state, old).items():
        width = widths.get(space, len(norm))
        if width > len(norm):
            raise UserError(
                f'{new.spec.name!r} has {width} channels where {old.spec.name!r} has '
                f'{len(norm)}; weights are inherited by narrower networks only'
            )
        if width < len(norm):
            order = torch.argsort(norm, descending=True, stable=True)
            kept[space] = order[:width].sort().values
    return kept


def _norms(state: Mapping[str, Tensor], network: Network) -> dict[Space, Tensor]:
    """Squared L2 norms of the filters that make a space's channels, summed."""
    norms: dict[Space, Tensor] = {}
    for layer, _, after in _layer_spaces(network):
        if layer.kind == CONV:
            name, space = f'{_BACKBONE}{layer.name}.conv.weight', after
        elif layer.kind == SQUEEZE_EXCITE:
            reduce = next(iter(layer.weights()))
            name, space = f'{_BACKBONE}{reduce}.weight', reduce
        else:
            continue
        if name in state:
            norm = state[name].double().square().flatten(1).sum(1)
            norms[space] = norms[space] + norm if space in norms else norm
    return norms


def _widths(old: Network, new: Network) -> dict[Space, int]:
    """How wide the spaces of one network are in another of the same layers."""
    layers = {layer.name: layer for layer in list_layers(new)}
    widths: dict[Space, int] = {}
    for layer, _, after in _layer_spaces(old):
        if layer.name in layers:
            widths[after] = layers[layer.name].out_channels
            if layer.kind == SQUEEZE_EXCITE:
                widths[next(iter(layer.weights()))] = layers[layer.name].hidden
    return widths
