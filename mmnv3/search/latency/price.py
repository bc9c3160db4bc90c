"""The latency of a config with any network in it, without building one."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any, NamedTuple

import numpy as np
from mmengine.config import Config
from torch import nn

from mmnv3.arch import NetSpec, Tap, backbone_taps
from mmnv3.arch.layers import ADD, Layer, Network, list_layers
from mmnv3.engine.config import input_size
from mmnv3.errors import UserError, first_line
from mmnv3.search.configs import (
    build,
    config_network,
    sampled_taps,
    with_sampled_spec,
    with_spec,
)
from mmnv3.search.latency.table import LatencyTable, Overhead
from mmnv3.search.latency.tracing import Trace, padding_shows, trace
from mmnv3.size import Size

# The taps of a network, and what stands around it.
_Around = tuple[tuple[Tap, ...], Trace]


class ConfigPrice:
    """The latency of a config's model with any network as its backbone, in µs.

    The layers of the backbone follow from its specification. Those of neck and head are
    traced when the object is made, with a few widths of the backbone's taps, which tell
    how their own widths follow from those. Where they follow by another rule than a
    sum, or the backbone's last layer runs as one with what comes after it, every
    network is built and traced: the same prices, but slowly.

    Args:
        table: The prices.
        size: Pixels of the picture.
        spec: The config's own network, tail and width applied.
        build: Builds the config's model with a network, which stands in its attribute
            ``backbone``.
        backbone: The config's settings of the backbone.
        tap_names: Names the taps of a network; by default they are the config's.

    Raises:
        UserError: When the config's model cannot be traced, or the table has nothing
            like one of its layers.
    """

    def __init__(
        self,
        table: LatencyTable,
        size: Size,
        spec: NetSpec,
        build: Callable[[NetSpec], nn.Module],
        backbone: Mapping[str, Any],
        tap_names: Callable[[NetSpec], Sequence[str]] | None = None,
    ) -> None:
        self.table = table
        self.size = size
        self._build = build
        self._backbone = backbone
        self._tap_names = tap_names
        self._prices_us: dict[NetSpec, float] = {}
        self._around: dict[tuple[int, ...], Trace] = {}
        self._rule = self._find_rule(spec)

    def __call__(self, spec: NetSpec) -> float:
        """Microseconds with a network; asked twice it is counted once."""
        if spec not in self._prices_us:
            latency_us = self.table.latency_us(*self.trace(spec))
            if not 0 < latency_us < math.inf:
                raise UserError(
                    f'the table prices {spec.name!r} at {latency_us} µs; it is '
                    'damaged, or has no layer of the config: measure it anew'
                )
            self._prices_us[spec] = latency_us
        return self._prices_us[spec]

    def trace(self, spec: NetSpec) -> Trace:
        """What :func:`mmnv3.search.latency.tracing.trace` finds with a network."""
        taps = self._taps(spec)
        if not self._rule or not self._rule.fits(taps):
            return self._build_and_trace(spec)
        widths = tuple(tap.channels for tap in taps)
        if widths not in self._around:
            self._around[widths] = self._rule.around(taps)
        layers, overhead = self._around[widths]
        return Trace([*self._backbone_layers(spec, taps), *layers], overhead)

    def _taps(self, spec: NetSpec) -> tuple[Tap, ...]:
        settings = self._settings(spec)
        if self._tap_names:
            settings['out_taps'] = self._tap_names(spec)
        return backbone_taps(settings)

    def _settings(self, spec: NetSpec) -> dict[str, Any]:
        """The config's settings of the backbone with a network."""
        return {**self._backbone, 'arch': spec, 'width': 1.0, 'tail': None}

    def _backbone_layers(self, spec: NetSpec, taps: Sequence[Tap]) -> list[Layer]:
        """Up to the deepest tap; more is not built."""
        layers = list_layers(Network.of_backbone(self._settings(spec)), self.size)
        deepest = max(_end(layers, tap) for tap in taps)
        return list(map(_as_traced, layers[:deepest]))

    def _build_and_trace(self, spec: NetSpec) -> Trace:
        try:
            return trace(self._build(spec), self.size)
        except UserError:
            raise
        except Exception as error:
            # Anything may stand in a toolbox's model.
            raise UserError(
                "the layers of the config's model cannot be traced, so that no table "
                f'prices it ({type(error).__name__}: {first_line(error)}); '
                'single-stage detectors with an SSD head, encoder-decoders of mmseg '
                'and classifiers of mmpretrain can be'
            ) from error

    def _find_rule(self, spec: NetSpec) -> _Rule | None:
        """How neck and head follow from the taps; None where that cannot be told."""
        taps = self._taps(spec)
        places = [taps[group[0]] for group in _groups(taps)]
        # No width occurs twice, so that every block keeps its parts.
        widest = max(
            spec.stem.out,
            spec.out_channels,
            *(max(block.expand, block.out) for block in spec.blocks),
        )
        fresh = itertools.count(widest + 8, 8)
        widened = [_widen(spec, place, next(fresh)) for place in places]
        everywhere = spec
        for place in places:
            everywhere = _widen(everywhere, place, next(fresh))
        surroundings = []
        for each in (spec, *widened, everywhere):
            taps = self._taps(each)
            backbone = self._backbone_layers(each, taps)
            layers, overhead = self._build_and_trace(each)
            if layers[: len(backbone)] != backbone:
                return None
            surroundings.append((taps, Trace(layers[len(backbone) :], overhead)))
        return _Rule.find(*surroundings)


def config_price(
    config: Config,
    table: LatencyTable,
    size: tuple[int, int] | None = None,
    other_blocks: bool = False,
) -> ConfigPrice:
    """The price of a network with the neck and head of a config.

    Args:
        config: The config.
        table: Layers by microseconds.
        size: (width, height) of the picture; the config's own by default.
        other_blocks: Whether the networks have other blocks than the config's, so
            that the taps move; see :func:`mmnv3.search.configs.sampled_taps`.

    Raises:
        UserError: When the config's model cannot be priced by the table.
    """
    own = config_network(config).spec
    edit = with_sampled_spec if other_blocks else with_spec
    return ConfigPrice(
        table,
        input_size(config, size),
        own,
        lambda spec: build(edit(config, spec)),
        config.model.backbone,
        (lambda spec: sampled_taps(config, own, spec)) if other_blocks else None,
    )


class _Rule(NamedTuple):
    """What stands around a backbone, by the widths of its taps.

    Attributes:
        taps: Of one network.
        trace: What stands around it.
        slopes: How its numbers grow with each width, (groups of taps, numbers).
    """

    taps: tuple[Tap, ...]
    trace: Trace
    slopes: np.ndarray

    @classmethod
    def find(cls, first: _Around, *others: _Around) -> _Rule | None:
        """Compares what stands around networks.

        Args:
            first: Of one network.
            *others: Of one for each group of taps, which has another width there, and
                of one that has other widths everywhere, by which the rule is checked.
        """
        taps, around = first
        *widened, (last_taps, last) = others
        slopes = []
        for group, (other_taps, other) in zip(_groups(taps), widened):
            step = other_taps[group[0]].channels - taps[group[0]].channels
            if not step or _frame(other) != _frame(around):
                return None
            slope, remainder = np.divmod(_numbers(other) - _numbers(around), step)
            if remainder.any():
                return None
            slopes.append(slope)
        rule = cls(taps, around, np.array(slopes))
        fits = rule.fits(last_taps) and rule.around(last_taps) == last
        return rule if fits else None

    def fits(self, taps: Sequence[Tap]) -> bool:
        """Whether it holds for other taps, which are of the same sizes."""
        return all(
            tap.reduction == own.reduction for tap, own in zip(taps, self.taps)
        ) and all(
            len({taps[index].channels for index in group}) == 1
            for group in _groups(self.taps)
        )

    def around(self, taps: Sequence[Tap]) -> Trace:
        """What stands around a backbone with other taps."""
        steps = [
            taps[group[0]].channels - self.taps[group[0]].channels
            for group in _groups(self.taps)
        ]
        *widths, written = (_numbers(self.trace) + steps @ self.slopes).tolist()
        layers, overhead = self.trace
        return Trace(
            [
                replace(layer, in_channels=before, out_channels=after, hidden=hidden)
                for layer, before, after, hidden in zip(
                    layers, widths[::3], widths[1::3], widths[2::3]
                )
            ],
            replace(overhead, written=written),
        )


def _numbers(around: Trace) -> np.ndarray:
    """What may follow from the widths of taps."""
    layers, overhead = around
    widths = [(each.in_channels, each.out_channels, each.hidden) for each in layers]
    return np.array([*itertools.chain(*widths), overhead.written])


def _frame(around: Trace) -> tuple[list[Layer], Overhead]:
    """What may not."""
    layers, overhead = around
    return [layer.group for layer in layers], replace(overhead, written=0)


def _groups(taps: Sequence[Tap]) -> list[list[int]]:
    """Indices of the taps, those together whose channels are one number."""
    groups: dict[tuple[str, bool], list[int]] = {}
    for index, tap in enumerate(taps):
        groups.setdefault((tap.layer, tap.part == 'out'), []).append(index)
    return list(groups.values())


def _widen(spec: NetSpec, tap: Tap, width: int) -> NetSpec:
    """A network with another width at a tap."""
    if not tap.layer.startswith('block'):
        conv = replace(getattr(spec, tap.layer), out=width)
        return replace(spec, **{tap.layer: conv})
    index = int(tap.layer.removeprefix('block')) - 1
    blocks = list(spec.blocks)
    if tap.part == 'out':
        following = blocks[index + 1 : index + 2]
        if following and following[0].expand == blocks[index].out:
            # It has no expansion, and so none that 'C4' could stand for.
            blocks[index + 1] = replace(following[0], expand=width)
        blocks[index] = replace(blocks[index], out=width)
    else:
        blocks[index] = replace(blocks[index], expand=width)
    return replace(spec, blocks=tuple(blocks))


def _end(layers: Sequence[Layer], tap: Tap) -> int:
    """How many layers lead to a tap."""
    name = tap.layer
    if name.startswith('block'):
        name += '.project' if tap.part == 'out' else f'.{tap.part}'
    end = 1 + next(index for index, each in enumerate(layers) if each.name == name)
    is_added = end < len(layers) and layers[end].kind == ADD
    return end + is_added


def _as_traced(layer: Layer) -> Layer:
    """A layer whose padding is told from TensorFlow's where they differ."""
    symmetric = layer.padding == 'symmetric'
    if symmetric and not padding_shows(layer, layer.dilation * (layer.kernel - 1) // 2):
        return replace(layer, padding='same')
    return layer
