"""What a table of the paper is, and how its rows are set beside what is built."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, fields

from torch import nn

from mmnv3.benchmark.counts import Complexity
from studies.paper.networks import Classifier, Network, cost

UNITS = {'M': 1e6, 'B': 1e9}

# Deviations beyond it want a reason.
TOLERANCE = 0.01

_ACTIVATIONS = {nn.Hardswish: 'HS', nn.ReLU: 'RE'}


@dataclass(frozen=True)
class Reason:
    """Why a print is not what its network counts.

    Args:
        text: A sentence or two.
        recount: Counts the network as the reason assumes that the paper did; None
            where the reason assumes nothing that can be counted.
    """

    text: str
    recount: Callable[[Network], Complexity] | None = None


@dataclass(frozen=True)
class Row:
    """One network of a table.

    Args:
        labels: What the first columns say.
        network: What to build; None for networks that this package does not have.
        measured: Accuracies and latencies, as printed.
        params: Millions of parameters as printed; empty where none are.
        madds: Multiply-adds as printed, in the unit of the table.
        why_params: The reason of a deviation of the parameters.
        why_madds: The reason of a deviation of the multiply-adds.
    """

    labels: tuple[str, ...]
    network: Network | None
    measured: tuple[str, ...]
    params: str = ''
    madds: str = ''
    why_params: Reason | None = None
    why_madds: Reason | None = None


@dataclass(frozen=True)
class Table:
    """A table of the paper.

    Args:
        title: Its number, and what it is about.
        about: What to know before reading it.
        labels: Headers of the first columns.
        measured: Headers of what was measured, with units.
        rows: Its rows.
        unit: Of the multiply-adds, ``'M'`` or ``'B'``.
        with_norm: Whether its parameters include batch normalisation.
        source: Who printed it.
    """

    title: str
    about: str
    labels: tuple[str, ...]
    measured: tuple[str, ...]
    rows: tuple[Row, ...]
    unit: str = 'M'
    with_norm: bool = True
    source: str = 'paper'


@dataclass(frozen=True)
class Comparison:
    """A printed count and ours.

    Args:
        kind: ``'params'`` or ``'MAdds'``.
        printed: As printed; empty where nothing is.
        unit: How many make one of the print.
        ours: What the network counts; None without a network.
        why: The reason of a deviation.
        recounted: What the reason's assumption counts.
    """

    kind: str
    printed: str
    unit: float
    ours: int | None
    why: Reason | None
    recounted: int | None

    @property
    def digits(self) -> int:
        """Digits after the point: those of the print, or two."""
        return len(self.printed.partition('.')[2]) if self.printed else 2

    @property
    def deviation(self) -> float | None:
        """Ours against the print, as a fraction; None where either is missing."""
        if self.ours is None or not self.printed:
            return None
        return self.ours / (float(self.printed) * self.unit) - 1

    @property
    def wants_reason(self) -> bool:
        """Whether the deviation is beyond :data:`TOLERANCE`."""
        return self.deviation is not None and abs(self.deviation) > TOLERANCE


def compare(table: Table, row: Row) -> Iterator[Comparison]:
    """Counts a row's network and sets it beside the print: parameters, then MAdds."""

    def params(found: Complexity) -> int:
        return found.params - (0 if table.with_norm else found.norm_params)

    def madds(found: Complexity) -> int:
        return found.madds

    for kind, printed, unit, why, read in (
        ('params', row.params, UNITS['M'], row.why_params, params),
        ('MAdds', row.madds, UNITS[table.unit], row.why_madds, madds),
    ):
        ours = recounted = None
        if row.network:
            ours = read(cost(row.network))
            if why and why.recount:
                recounted = read(why.recount(row.network))
        yield Comparison(kind, printed, unit, ours, why, recounted)


@dataclass(frozen=True)
class Layer:
    """A row of Table 1 or 2; 0 and '' stand for its dashes.

    Args:
        side: Pixels of the input's side.
        channels: Input channels.
        operator: What it is; NBN is without batch normalisation.
        expand: "exp size".
        out: "#out".
        se: Squeeze-and-excite.
        act: "NL": RE for ReLU, HS for h-swish.
        stride: "s".
    """

    side: int
    channels: int
    operator: str
    expand: int
    out: int
    se: bool
    act: str
    stride: int


@dataclass(frozen=True)
class LayerTable:
    """Table 1 or 2.

    Args:
        title: Its number, and what it is about.
        about: What to know before reading it.
        network: What it describes.
        rows: Its rows.
        reasons: Why a row, by index, is not what is built.
    """

    title: str
    about: str
    network: Classifier
    rows: tuple[Layer, ...]
    reasons: dict[int, Reason] = field(default_factory=dict)


@dataclass(frozen=True)
class BuiltLayer:
    """A layer as it is built.

    Args:
        layer: Read off the modules.
        params: Parameters.
        madds: Multiply-adds.
    """

    layer: Layer
    params: int
    madds: int


def read_layers(network: Classifier) -> tuple[BuiltLayer, ...]:
    """Builds a classifier and reads its layers off the modules."""
    net, found = network.build(), cost(network)
    side, layers = network.side, {}
    for name in net.backbone.layers:
        layers[f'backbone.{name}'] = layer = _read(getattr(net.backbone, name), side)
        side = -(-side // layer.stride)
    channels = net.backbone.out_channels[0]
    layers['neck'] = Layer(side, channels, f'pool {side}×{side}', 0, 0, False, '', 1)
    for name, act in (('hidden', _ACTIVATIONS[type(net.head.act)]), ('fc', '')):
        linear = getattr(net.head, name)
        layers[f'head.{name}'] = Layer(
            1,
            linear.in_features,
            'conv 1×1, NBN',
            0,
            linear.out_features,
            False,
            act,
            1,
        )
    return tuple(
        BuiltLayer(layer, found.layer_params[name], found.layer_madds[name])
        for name, layer in layers.items()
    )


def _read(module: nn.Module, side: int) -> Layer:
    """Reads a stem, a last 1×1 or a bottleneck.

    Args:
        module: The layer.
        side: Pixels of its input's side.
    """
    block = hasattr(module, 'project')
    spatial = module.depthwise if block else module
    first = module.expand if hasattr(module, 'expand') else spatial
    final = module.project if block else module
    kernel = spatial.conv.kernel_size[0]
    return Layer(
        side,
        first.conv.in_channels,
        f'{"bneck" if block else "conv"} {kernel}×{kernel}',
        spatial.conv.out_channels if block else 0,
        final.conv.out_channels,
        hasattr(module, 'se'),
        _ACTIVATIONS[type(spatial.activate)],
        spatial.conv.stride[0],
    )


def differences(printed: Layer, built: Layer) -> tuple[str, ...]:
    """Names the fields in which a layer is not as printed."""
    return tuple(
        item.name
        for item in fields(Layer)
        if getattr(printed, item.name) != getattr(built, item.name)
    )
