"""What a table of the paper holds, and its rows beside what is built here."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, fields
from itertools import groupby

from mmnv3.arch import Network as ArchNetwork
from mmnv3.arch import list_layers
from mmnv3.arch.layers import DEPTHWISE, LINEAR, POOL, SQUEEZE_EXCITE, Layer
from mmnv3.benchmark import Complexity
from studies.networks import IMAGENET_CLASSES, Classifier, Network, cost

UNITS = {'M': 1e6, 'B': 1e9}

# Deviations beyond it want a reason.
TOLERANCE = 0.01

_NON_LINEARITIES = {'hswish': 'HS', 'relu': 'RE', None: ''}


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


def compare(table: Table, row: Row) -> tuple[Comparison, Comparison]:
    """Counts a row's network and sets it beside the print: parameters, then MAdds."""

    def read_params(found: Complexity) -> int:
        return found.params - (0 if table.with_norm else found.norm_params)

    def beside(kind: str, printed: str, unit: str, why: Reason | None) -> Comparison:
        read = read_params if kind == 'params' else lambda found: found.madds
        recount = why and why.recount
        return Comparison(
            kind,
            printed,
            UNITS[unit],
            ours=read(cost(row.network)) if row.network else None,
            why=why,
            recounted=read(recount(row.network)) if recount else None,
        )

    return (
        beside('params', row.params, 'M', row.why_params),
        beside('MAdds', row.madds, table.unit, row.why_madds),
    )


@dataclass(frozen=True)
class LayerRow:
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

    def differences(self, other: LayerRow) -> list[str]:
        """Names the fields in which another row is not as this one."""
        return [
            item.name
            for item in fields(self)
            if getattr(self, item.name) != getattr(other, item.name)
        ]


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
    rows: tuple[LayerRow, ...]
    reasons: dict[int, Reason] = field(default_factory=dict)


@dataclass(frozen=True)
class BuiltLayer:
    """What is built where the paper has a row.

    Args:
        row: It, as the paper would print it.
        params: Parameters of the module.
        madds: Multiply-adds.
    """

    row: LayerRow
    params: int
    madds: int


def built_layers(network: Classifier) -> Iterator[BuiltLayer]:
    """The layers of a classifier, those of a block together, beside its modules."""
    layers = list_layers(ArchNetwork(network.spec()), network.size, IMAGENET_CLASSES)
    modules = network.build()
    for name, group in groupby(layers, _module_of):
        parts = list(group)
        params = modules.get_submodule(name).parameters()
        yield BuiltLayer(
            _as_printed(parts),
            sum(parameter.numel() for parameter in params),
            sum(part.madds for part in parts),
        )


def _module_of(layer: Layer) -> str:
    """The module of a classifier that holds a layer: a block, not its parts."""
    if layer.kind == POOL:
        return 'neck'
    if layer.kind == LINEAR:
        return layer.name
    return f'backbone.{layer.name.partition(".")[0]}'


def _as_printed(parts: list[Layer]) -> LayerRow:
    """The row of a block, or of a layer that stands alone."""
    kinds = {part.kind: part for part in parts}
    first, last, is_block = parts[0], parts[-1], len(parts) > 1
    spatial = kinds.get(DEPTHWISE, first)
    if first.kind == POOL:
        operator = f'pool {first.width}×{first.height}'
    elif first.kind == LINEAR:
        operator = 'conv 1×1, NBN'
    else:
        operator = (
            f'{"bneck" if is_block else "conv"} {spatial.kernel}×{spatial.kernel}'
        )
    return LayerRow(
        first.width,
        first.in_channels,
        operator,
        expand=spatial.out_channels if is_block else 0,
        out=0 if first.kind == POOL else last.out_channels,
        se=SQUEEZE_EXCITE in kinds,
        act=_NON_LINEARITIES[spatial.act],
        stride=spatial.stride,
    )
