"""The layers of a network: the one place that says what a block is made of.

The backbone builds them, the converters name foreign weights by them, NetAdapt slices
by them, and the latency table prices them, all without asking each other.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from mmnv3.arch.spec import (
    ACTIVATIONS,
    GATES,
    PADDINGS,
    BlockPlan,
    NetSpec,
    check_choice,
    check_count,
    plan_blocks,
)
from mmnv3.arch.zoo import get_spec
from mmnv3.errors import UserError
from mmnv3.size import Size

CONV, DEPTHWISE, SQUEEZE_EXCITE = 'conv', 'depthwise', 'squeeze_excite'
LINEAR, POOL, ADD = 'linear', 'pool', 'add'
KINDS = (CONV, DEPTHWISE, SQUEEZE_EXCITE, LINEAR, POOL, ADD)

# A layer's numbers that are never zero.
_COUNTS = (
    'in_channels',
    'out_channels',
    'height',
    'width',
    'kernel',
    'stride',
    'dilation',
)

PICTURE_CHANNELS = 3
# ImageNet's, for those who ask for no feature map's size.
_SIZE = Size(224, 224)


@dataclass(frozen=True)
class Network:
    """A specification and how it is built: all that decides its layers.

    Args:
        spec: The table, its tail and width applied.
        output_stride: 32, 16 or 8: beyond it blocks are dilated instead of strided.
        dilation: ``'tensorflow'`` or ``'torchvision'``; see :func:`plan_blocks`.
        padding: ``'same'`` as TensorFlow pads, or ``'symmetric'`` as PyTorch does.
    """

    spec: NetSpec
    output_stride: int = 32
    dilation: str = 'tensorflow'
    padding: str = 'same'

    def __post_init__(self) -> None:
        check_choice('padding', self.padding, PADDINGS)

    @classmethod
    def of_backbone(cls, backbone: Mapping[str, Any]) -> Network:
        """The network that a backbone's dict in a config describes.

        Args:
            backbone: With the keys of ``MobileNetV3``, all of them optional: ``arch``,
                ``width``, ``tail``, ``gate``, ``output_stride``, ``dilation`` and
                ``padding``; others are ignored.

        Raises:
            UserError: When there is no such network.
        """
        shape = {
            key: backbone[key]
            for key in ('arch', 'width', 'tail', 'gate')
            if key in backbone
        }
        built = {
            key: backbone[key]
            for key in ('output_stride', 'dilation', 'padding')
            if key in backbone
        }
        return cls(get_spec(**shape), **built)

    @property
    def stages(self) -> tuple[str, ...]:
        """The backbone's modules, which ``out_indices`` and ``frozen_stages`` count."""
        blocks = (f'block{number}' for number in range(1, len(self.spec.blocks) + 1))
        return ('stem', *blocks, *(['last'] if self.spec.last else []))

    def plans(self) -> Iterator[BlockPlan]:
        """The blocks with what their neighbours and the output stride decide."""
        return plan_blocks(self.spec, self.output_stride, self.dilation)


@dataclass(frozen=True)
class Layer:
    """A layer, as runtimes run it: all that decides its weights and its time.

    A convolution is one layer with its normalisation and activation, and with the sum
    where it ends a residual block. Two layers are equal whatever their names are.

    Args:
        kind: One of :data:`KINDS`.
        in_channels: Channels of the input.
        out_channels: Channels of the output.
        height: Rows of the input.
        width: Columns of the input.
        kernel: Kernel size.
        stride: Stride.
        dilation: Dilation.
        act: ``'relu'``, ``'relu6'``, ``'hswish'``, ``'sigmoid'``, ``'hsigmoid'``,
            ``'hsigmoid_tf'`` or None; of squeeze-and-excite its gate.
        hidden: Hidden channels of squeeze-and-excite.
        residual: Whether the block's input is added to the output.
        padding: ``'same'`` as TensorFlow pads, or ``'symmetric'``; they differ where
            the stride is 2, and it is ``'same'`` elsewhere.
        name: The module's name in the backbone, as ``'block3.expand'``; empty where
            the layer stands for its like, or has no module.
    """

    kind: str
    in_channels: int
    out_channels: int
    height: int = 1
    width: int = 1
    kernel: int = 1
    stride: int = 1
    dilation: int = 1
    act: str | None = None
    hidden: int = 0
    residual: bool = False
    padding: str = 'same'
    name: str = field(default='', compare=False)

    @property
    def groups(self) -> int:
        """Groups of the convolution."""
        return self.in_channels if self.kind == DEPTHWISE else 1

    @property
    def out_size(self) -> Size:
        """Columns and rows of the output."""
        if self.kind in (POOL, LINEAR):
            return Size(1, 1)
        return Size(
            math.ceil(self.width / self.stride), math.ceil(self.height / self.stride)
        )

    @property
    def madds(self) -> int:
        """Multiply-adds of its kernels."""
        pixels = math.prod(self.out_size)
        return {
            CONV: pixels * self.kernel**2 * self.in_channels * self.out_channels,
            DEPTHWISE: pixels * self.kernel**2 * self.out_channels,
            SQUEEZE_EXCITE: 2 * self.in_channels * self.hidden,
            LINEAR: self.in_channels * self.out_channels,
        }.get(self.kind, 0)

    @property
    def group(self) -> Layer:
        """The layer without its widths: prices of one group are interpolated."""
        return replace(self, in_channels=0, out_channels=0, hidden=0, name='')

    @property
    def widths(self) -> tuple[int, ...]:
        """The widths that may differ within a group."""
        return {
            CONV: (self.in_channels, self.out_channels),
            LINEAR: (self.in_channels, self.out_channels),
            SQUEEZE_EXCITE: (self.in_channels, self.hidden),
        }.get(self.kind, (self.in_channels,))

    def with_widths(self, *widths: int) -> Layer:
        """The inverse of :attr:`widths`."""
        first, last = widths[0], widths[-1]
        if self.kind == SQUEEZE_EXCITE:
            return replace(self, in_channels=first, out_channels=first, hidden=last)
        return replace(self, in_channels=first, out_channels=last)

    def __str__(self) -> str:
        """As ``conv 16->72 1x1 relu of 56x56``."""
        widths = '->'.join(map(str, self.widths))
        details = [f'{self.kernel}x{self.kernel}'] if self.kernel > 1 else []
        for name in ('stride', 'dilation'):
            if getattr(self, name) > 1:
                details.append(f'{name} {getattr(self, name)}')
        details += [self.act] if self.act else []
        details += ['residual'] if self.residual else []
        details += [self.padding] if self.padding != 'same' else []
        return ' '.join([self.kind, widths, *details, f'of {self.width}x{self.height}'])

    def to_dict(self) -> dict[str, Any]:
        """The fields that are not defaults and decide its time, for JSON."""
        values = {key: getattr(self, key) for key in self.__dataclass_fields__}
        return {
            key: value
            for key, value in values.items()
            if key != 'name'
            and (value != getattr(_NOTHING, key) or key.endswith('_channels'))
        }

    @classmethod
    def from_dict(cls, row: Mapping[str, Any]) -> Layer:
        """The inverse of :meth:`to_dict`.

        Raises:
            UserError: For a row that is no layer; names the key.
        """
        known = set(cls.__dataclass_fields__) - {'name'}
        needed = {'kind', 'in_channels', 'out_channels'}
        if not isinstance(row, Mapping) or not needed <= set(row) <= known:
            raise UserError(
                f'{row!r} is no layer; its keys are {", ".join(sorted(needed))}, and '
                f'maybe {", ".join(sorted(known - needed))}'
            )
        layer = cls(**row)
        check_choice('kind', layer.kind, KINDS)
        for name in _COUNTS:
            check_count(name, getattr(layer, name))
        check_choice('act', layer.act, (None, *ACTIVATIONS, *GATES))
        if layer.kind == SQUEEZE_EXCITE or layer.hidden != 0:
            check_count('hidden', layer.hidden)
        check_choice('residual', layer.residual, (True, False))
        check_choice('padding', layer.padding, PADDINGS)
        return layer

    def weights(self) -> Mapping[str, tuple[int, int]]:
        """The convolutions and linear layers that it is made of.

        Returns:
            Shapes of their kernels, (input channels of a group, output channels), by
            their names in the backbone; two for squeeze-and-excite, none for what has
            no weights.
        """
        if self.kind == SQUEEZE_EXCITE:
            return {
                f'{self.name}.reduce': (self.in_channels, self.hidden),
                f'{self.name}.expand': (self.hidden, self.in_channels),
            }
        if self.kind in (POOL, ADD):
            return {}
        return {self.name: (self.in_channels // self.groups, self.out_channels)}


# What `Layer.to_dict` leaves out.
_NOTHING = Layer('', 0, 0)


def same_padding(size: int, kernel: int, stride: int, dilation: int = 1) -> int:
    """The rows, or columns, that TensorFlow's ``'SAME'`` adds on both sides together.

    Of an odd number the bottom, or the right, gets one more: the first gets half of
    it, rounded down.

    Args:
        size: Rows of the input; ⌈size / stride⌉ come out.
        kernel: Kernel size.
        stride: Stride.
        dilation: Dilation.
    """
    cells = -(-size // stride)
    return max((cells - 1) * stride + (kernel - 1) * dilation + 1 - size, 0)


def block_layers(
    plan: BlockPlan, size: Size = _SIZE, padding: str = 'same'
) -> list[Layer]:
    """The layers of a bottleneck: expand, depthwise, squeeze-excite, project.

    Args:
        plan: The block.
        size: Of its input, in cells.
        padding: ``'same'`` or ``'symmetric'``.
    """
    layers: list[Layer] = []
    block = plan.spec

    def append(kind: str, part: str, out: int, **options: Any) -> None:
        before = layers[-1] if layers else None
        width, height = before.out_size if before else size
        layers.append(
            Layer(
                kind,
                before.out_channels if before else plan.in_channels,
                out,
                height,
                width,
                padding=padding if options.get('stride', 1) > 1 else 'same',
                name=part and f'{plan.name}.{part}',
                **options,
            )
        )

    spatial = dict(stride=plan.stride, kernel=block.kernel, dilation=plan.dilation)
    if plan.has_expand:
        fused = spatial if block.fused else {}
        append(CONV, 'expand', block.expand, act=block.act, **fused)
    if not block.fused:
        append(DEPTHWISE, 'depthwise', block.expand, act=block.act, **spatial)
    if block.se:
        append(
            SQUEEZE_EXCITE,
            'se',
            block.expand,
            act=block.se.gate,
            hidden=plan.se_hidden,
        )
    # Without an activation the runtimes add the block's input in the convolution.
    linear = block.project_act is None
    append(
        CONV,
        'project',
        block.out,
        act=block.project_act,
        residual=plan.residual and linear,
    )
    if plan.residual and not linear:
        append(ADD, '', block.out)
    return layers


def list_layers(
    network: Network, size: Size = _SIZE, classes: int | None = None
) -> list[Layer]:
    """The layers of a network, in the order of computation.

    Args:
        network: The network.
        size: Pixels of the picture.
        classes: Of the classifier that follows, which pools first; None for the
            backbone alone.
    """
    spec = network.spec
    layers: list[Layer] = []

    def place() -> tuple[int, Size]:
        """Channels and size of what comes next."""
        if not layers:
            return PICTURE_CHANNELS, size
        return layers[-1].out_channels, layers[-1].out_size

    def append(name: str) -> None:
        conv = getattr(spec, name)
        channels, (width, height) = place()
        layers.append(
            Layer(
                CONV,
                channels,
                conv.out,
                height,
                width,
                conv.kernel,
                conv.stride,
                act=conv.act,
                padding=network.padding if conv.stride > 1 else 'same',
                name=name,
            )
        )

    append('stem')
    for plan in network.plans():
        layers += block_layers(plan, place()[1], network.padding)
    if spec.last:
        append('last')
    if classes:
        channels, (width, height) = place()
        layers.append(Layer(POOL, channels, channels, height, width))
        if spec.head:
            layers.append(
                Layer(
                    LINEAR,
                    channels,
                    spec.head.out,
                    act=spec.head.act,
                    name='head.hidden',
                )
            )
        layers.append(Layer(LINEAR, place()[0], classes, name='head.fc'))
    return layers
