"""Tables 1 and 2: the layers of the two networks, as printed and as built."""

from __future__ import annotations

from dataclasses import dataclass, field, fields

from torch import nn

from mmnv3.benchmark.counts import count
from studies.paper.networks import Classifier
from studies.paper.reasons import SE_MISPRINT
from studies.paper.tables import Reason

_ACTIVATIONS = {nn.Hardswish: 'HS', nn.ReLU: 'RE'}
_CLASSES = 1000


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


def _rows(*rows: tuple) -> tuple[Layer, ...]:
    return tuple(Layer(*row) for row in rows)


_ABOUT = (
    'The paper prints the layers and no counts; the counts are ours. Each layer is '
    'read off the built modules and compared with its row. k is 1000 classes.'
)

# fmt: off
TABLE_1 = LayerTable(
    'Table 1: MobileNetV3-Large', _ABOUT, Classifier('large'), _rows(
        # side in   operator     exp  out    SE     NL   s
        (224,   3, 'conv 3×3',     0,   16, False, 'HS', 2),
        (112,  16, 'bneck 3×3',   16,   16, False, 'RE', 1),
        (112,  16, 'bneck 3×3',   64,   24, False, 'RE', 2),
        ( 56,  24, 'bneck 3×3',   72,   24, False, 'RE', 1),
        ( 56,  24, 'bneck 5×5',   72,   40, True,  'RE', 2),
        ( 28,  40, 'bneck 5×5',  120,   40, True,  'RE', 1),
        ( 28,  40, 'bneck 5×5',  120,   40, True,  'RE', 1),
        ( 28,  40, 'bneck 3×3',  240,   80, False, 'HS', 2),
        ( 14,  80, 'bneck 3×3',  200,   80, False, 'HS', 1),
        ( 14,  80, 'bneck 3×3',  184,   80, False, 'HS', 1),
        ( 14,  80, 'bneck 3×3',  184,   80, False, 'HS', 1),
        ( 14,  80, 'bneck 3×3',  480,  112, True,  'HS', 1),
        ( 14, 112, 'bneck 3×3',  672,  112, True,  'HS', 1),
        ( 14, 112, 'bneck 5×5',  672,  160, True,  'HS', 2),
        (  7, 160, 'bneck 5×5',  960,  160, True,  'HS', 1),
        (  7, 160, 'bneck 5×5',  960,  160, True,  'HS', 1),
        (  7, 160, 'conv 1×1',     0,  960, False, 'HS', 1),
        (  7, 960, 'pool 7×7',     0,    0, False, '',   1),
        (  1, 960, 'conv 1×1, NBN', 0, 1280, False, 'HS', 1),
        (  1, 1280, 'conv 1×1, NBN', 0, _CLASSES, False, '', 1),
    ),
)

TABLE_2 = LayerTable(
    'Table 2: MobileNetV3-Small', _ABOUT, Classifier('small'), _rows(
        # side in   operator     exp  out    SE     NL   s
        (224,   3, 'conv 3×3',     0,   16, False, 'HS', 2),
        (112,  16, 'bneck 3×3',   16,   16, True,  'RE', 2),
        ( 56,  16, 'bneck 3×3',   72,   24, False, 'RE', 2),
        ( 28,  24, 'bneck 3×3',   88,   24, False, 'RE', 1),
        ( 28,  24, 'bneck 5×5',   96,   40, True,  'HS', 2),
        ( 14,  40, 'bneck 5×5',  240,   40, True,  'HS', 1),
        ( 14,  40, 'bneck 5×5',  240,   40, True,  'HS', 1),
        ( 14,  40, 'bneck 5×5',  120,   48, True,  'HS', 1),
        ( 14,  48, 'bneck 5×5',  144,   48, True,  'HS', 1),
        ( 14,  48, 'bneck 5×5',  288,   96, True,  'HS', 2),
        (  7,  96, 'bneck 5×5',  576,   96, True,  'HS', 1),
        (  7,  96, 'bneck 5×5',  576,   96, True,  'HS', 1),
        (  7,  96, 'conv 1×1',     0,  576, True,  'HS', 1),
        (  7, 576, 'pool 7×7',     0,    0, False, '',   1),
        (  1, 576, 'conv 1×1, NBN', 0, 1024, False, 'HS', 1),
        (  1, 1024, 'conv 1×1, NBN', 0, _CLASSES, False, '', 1),
    ),
    {12: SE_MISPRINT},
)
# fmt: on


def read_layers(network: Classifier) -> tuple[BuiltLayer, ...]:
    """Builds a classifier and reads its layers off the modules."""
    net = network.build()
    backbone, whole = net.backbone, count(net, network.size[::-1])
    costs = count(backbone, network.size[::-1])
    side, built = network.side, []
    for name in backbone.layers:
        layer = _read(getattr(backbone, name), side)
        built.append(
            BuiltLayer(layer, costs.layer_params[name], costs.layer_madds[name])
        )
        side = -(-side // layer.stride)
    channels = backbone.out_channels[0]
    pool = Layer(side, channels, f'pool {side}×{side}', 0, 0, False, '', 1)
    built.append(BuiltLayer(pool, 0, 0))
    for name, act in (('head', _ACTIVATIONS[type(net.act)]), ('logits', '')):
        conv = getattr(net, name)
        layer = Layer(
            1, conv.in_channels, 'conv 1×1, NBN', 0, conv.out_channels, False, act, 1
        )
        built.append(
            BuiltLayer(layer, whole.layer_params[name], whole.layer_madds[name])
        )
    return tuple(built)


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
