"""The networks of the paper's tables, built of the package's modules and counted.

A row names its network by a small description, so that networks which stand in several
tables are counted once.
"""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass, replace
from functools import cache

import torch
from mmpretrain.models.necks import GlobalAveragePooling
from torch import Tensor, nn

from mmnv3.arch import NetSpec, get_spec
from mmnv3.benchmark import Complexity, count
from mmnv3.benchmark.counts import ShapesOnly
from mmnv3.models import (
    LRASPPHead,
    MobileNetV3,
    MobileNetV3ClsHead,
    RASPPHead,
    SSDLiteHead,
    SSDLiteNeck,
)
from mmnv3.models.layers import SqueezeExcite
from mmnv3.size import Size

IMAGENET_CLASSES = 1000
CITYSCAPES_CLASSES = 19

# The shallow and the deep map of segmentation. V2's deep one is a block, since DeepLab
# leaves its last 1×1 out.
_SEGMENTATION_TAPS = {
    'large': ('block6.depthwise', 'C5'),
    'small': ('block3.depthwise', 'C5'),
    'v2': ('block6.depthwise', 'block17'),
}

# Products without weights per output value of a layer: h-swish is x · ReLU6(x + 3) / 6.
_PRODUCTS = {nn.Hardswish: 2, SqueezeExcite: 1}


def use_hswish_from(spec: NetSpec, channels: float) -> NetSpec:
    """Blocks with at least so many output channels use h-swish, the others ReLU."""
    blocks = (
        replace(block, act='hswish' if block.out >= channels else 'relu')
        for block in spec.blocks
    )
    return replace(spec, blocks=tuple(blocks))


@dataclass(frozen=True)
class Classifier:
    """A row of classification (Tables 3, 4, 5 and 9): 1000 classes.

    Args:
        arch: A name of the zoo, or a specification.
        width: Width multiplier.
        side: Pixels of the square picture's side.
        hswish_from: Output channels from which blocks use h-swish, as the variants of
            Table 5 are named; None for the network as it is.
        last: Channels of the 1×1 convolution before pooling, if not the zoo's.
        head: Channels of the 1×1 convolution after pooling, if not the zoo's.
    """

    arch: str | NetSpec
    width: float = 1.0
    side: int = 224
    hswish_from: float | None = None
    last: int | None = None
    head: int | None = None

    @property
    def size(self) -> Size:
        """Of the picture, in pixels."""
        return Size(self.side, self.side)

    def spec(self) -> NetSpec:
        """The network as data, with this row's changes."""
        spec = get_spec(self.arch, self.width)
        if self.hswish_from is not None:
            spec = use_hswish_from(spec, self.hswish_from)
        if self.last and spec.last:
            spec = replace(spec, last=replace(spec.last, out=self.last))
        if self.head and spec.head:
            spec = replace(spec, head=replace(spec.head, out=self.head))
        return spec

    def build(self) -> nn.Sequential:
        """Backbone, pooling, and the paper's last stage."""
        backbone = MobileNetV3(self.spec())
        hidden = backbone.spec.head
        head = MobileNetV3ClsHead(
            IMAGENET_CLASSES,
            backbone.out_channels[-1],
            hidden and hidden.out,
            act=hidden.act if hidden else 'relu',
        )
        return nn.Sequential(
            OrderedDict(backbone=backbone, neck=GlobalAveragePooling(), head=head)
        )


@dataclass(frozen=True)
class Detector:
    """A row of Table 6: SSDLite at 320 pixels.

    Args:
        arch: A name of the zoo.
        width: Width multiplier of the backbone and of the extra levels.
        tail: ``'detection'`` or, for the rows without a dagger, None.
        slots: Class outputs per anchor, with the background.
    """

    arch: str
    width: float = 1.0
    tail: str | None = 'detection'
    slots: int = 91

    @property
    def size(self) -> Size:
        """Of the picture, in pixels."""
        return Size(320, 320)

    def build(self) -> nn.Sequential:
        """Backbone, extra levels and predictors."""
        backbone = MobileNetV3(
            self.arch, self.width, tail=self.tail, out_taps=('C4', 'C5')
        )
        neck = SSDLiteNeck(backbone.out_channels, width=self.width)
        # Under the sigmoid loss no class is the background; here it is one of them.
        head = SSDLiteHead(self.slots, neck.out_channels)
        return nn.Sequential(backbone, neck, head)


@dataclass(frozen=True)
class Segmenter:
    """A row of Tables 7 and 8: Cityscapes.

    Args:
        arch: A name of the zoo.
        lite: LR-ASPP, or else R-ASPP.
        filters: F, the channels of the head.
        width: Width multiplier.
        tail: ``'segmentation'`` (RF2), or None for the classifier's.
        output_stride: 16 or 32.
        half: A picture of half the side.
    """

    arch: str
    lite: bool = True
    filters: int = 128
    width: float = 1.0
    tail: str | None = 'segmentation'
    output_stride: int = 16
    half: bool = False

    @property
    def size(self) -> Size:
        """Of the picture, in pixels: DeepLab adds one to an even side."""
        return Size(1025, 513) if self.half else Size(2049, 1025)

    def build(self) -> nn.Sequential:
        """Backbone and head."""
        low, deep = _SEGMENTATION_TAPS[self.arch]
        backbone = MobileNetV3(
            self.arch,
            self.width,
            tail=self.tail,
            output_stride=self.output_stride,
            out_taps=(low, deep) if self.lite else (deep,),
        )
        head = (LRASPPHead if self.lite else RASPPHead)(
            CITYSCAPES_CLASSES,
            backbone.out_channels if self.lite else backbone.out_channels[0],
            channels=self.filters,
            output_stride=self.output_stride,
        )
        return nn.Sequential(backbone, head)


Network = Classifier | Detector | Segmenter


@cache
def cost(network: Network) -> Complexity:
    """Builds a network and counts it for one picture."""
    return count(_build_weightless(network), network.size)


def _build_weightless(network: Network) -> nn.Module:
    """The modules as they are, on the device that allocates and computes nothing."""
    with torch.device('meta'):
        return network.build()


@cache
def count_products(network: Network) -> int:
    """Counts products of two values, which :func:`cost` leaves out.

    Two for every value of h-swish, one for every value that squeeze-and-excite scales
    and, in segmentation, one for every class score of the whole picture, which are
    interpolated.
    """
    total = 0

    def add(layer: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> None:
        nonlocal total
        total += _PRODUCTS[type(layer)] * output.numel()

    module = _build_weightless(network).eval()
    for layer in module.modules():
        if type(layer) in _PRODUCTS:
            layer.register_forward_hook(add)
    width, height = network.size
    with ShapesOnly():
        module(torch.empty(1, 3, height, width, device='meta'))
    if isinstance(network, Segmenter):
        total += CITYSCAPES_CLASSES * height * width
    return total
