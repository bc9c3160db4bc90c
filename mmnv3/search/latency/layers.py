"""The layers that a latency table prices, and those that a specification has."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace
from typing import Any

from mmnv3.arch import NetSpec, plan_blocks
from mmnv3.errors import UserError

CONV, DEPTHWISE, SQUEEZE_EXCITE = 'conv', 'depthwise', 'squeeze_excite'
LINEAR, POOL, ADD = 'linear', 'pool', 'add'
# What a network does beside its layers: the call itself, boxes, resized maps.
REST = 'rest'
KINDS = (CONV, DEPTHWISE, SQUEEZE_EXCITE, LINEAR, POOL, ADD, REST)

PICTURE_CHANNELS = 3


@dataclass(frozen=True)
class LayerShape:
    """What decides how long a layer takes.

    A layer is what runtimes run as one: a convolution with its normalisation and
    activation, and the sum with a block's input where it ends a residual block.

    Args:
        kind: One of :data:`KINDS`.
        in_channels: Channels of the input; of ``'rest'`` how many operations it is.
        out_channels: Channels of the output; of ``'rest'`` the numbers they write.
        height: Rows of the input; of ``'rest'`` of the picture.
        width: Columns of the input; of ``'rest'`` of the picture.
        kernel: Kernel size.
        stride: Stride.
        dilation: Dilation.
        act: ``'relu'``, ``'relu6'``, ``'hswish'``, ``'sigmoid'``, ``'hsigmoid'`` or
            None; of squeeze-and-excite its gate.
        hidden: Hidden channels of squeeze-and-excite.
        residual: Whether the block's input is added to the output.
        padding: ``'same'`` as TensorFlow pads, or ``'symmetric'``; they differ where
            the stride is 2, and it is ``'same'`` elsewhere.
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

    @property
    def out_size(self) -> tuple[int, int]:
        """Rows and columns of the output."""
        if self.kind in (POOL, LINEAR):
            return 1, 1
        return math.ceil(self.height / self.stride), math.ceil(self.width / self.stride)

    @property
    def madds(self) -> int:
        """Multiply-adds, as :func:`mmnv3.benchmark.counts.count` counts them."""
        pixels = math.prod(self.out_size)
        return {
            CONV: pixels * self.kernel**2 * self.in_channels * self.out_channels,
            DEPTHWISE: pixels * self.kernel**2 * self.out_channels,
            SQUEEZE_EXCITE: 2 * self.in_channels * self.hidden,
            LINEAR: self.in_channels * self.out_channels,
        }.get(self.kind, 0)

    @property
    def group(self) -> LayerShape:
        """The layer without its widths: between layers of one group is interpolated."""
        return replace(self, in_channels=0, out_channels=0, hidden=0)

    @property
    def widths(self) -> tuple[int, ...]:
        """The widths that may differ within a group."""
        return {
            CONV: (self.in_channels, self.out_channels),
            LINEAR: (self.in_channels, self.out_channels),
            SQUEEZE_EXCITE: (self.in_channels, self.hidden),
            REST: (self.in_channels, self.out_channels),
        }.get(self.kind, (self.in_channels,))

    def with_widths(self, *widths: int) -> LayerShape:
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
        """The fields that are not defaults, for JSON."""
        defaults = LayerShape('', 0, 0)
        return {
            name: value
            for name, value in asdict(self).items()
            if value != getattr(defaults, name) or name.endswith('_channels')
        }


def layers_of_spec(
    spec: NetSpec,
    size: tuple[int, int],
    output_stride: int = 32,
    *,
    dilation: str = 'tensorflow',
    padding: str = 'same',
    classes: int | None = None,
) -> list[LayerShape]:
    """Lists the layers of a network without building it.

    Args:
        spec: The network.
        size: Pixels of the picture, (width, height).
        output_stride: 32, 16 or 8.
        dilation: See :func:`mmnv3.arch.plan_blocks`.
        padding: ``'same'`` or ``'symmetric'``.
        classes: Of the classifier that follows; None for the backbone alone.

    Returns:
        What :func:`mmnv3.search.latency.tracing.layers_of` returns of the built
        network, but for the ``'rest'``.

    Raises:
        UserError: For a picture without pixels.
    """
    if min(size) < 1:
        raise UserError(f'size {size[0]}x{size[1]} must be two positive numbers')
    return list(_layers(spec, size, output_stride, dilation, padding, classes))


def _layers(
    spec: NetSpec,
    size: tuple[int, int],
    output_stride: int,
    dilation: str,
    padding: str,
    classes: int | None,
) -> Iterator[LayerShape]:
    width, height = size
    channels = PICTURE_CHANNELS

    def layer(kind: str, out: int, stride: int = 1, **options: Any) -> LayerShape:
        """The next layer; moves on."""
        nonlocal channels, height, width
        found = LayerShape(
            kind,
            channels,
            out,
            height,
            width,
            stride=stride,
            padding=padding if stride > 1 else 'same',
            **options,
        )
        channels, (height, width) = out, found.out_size
        return found

    stem = spec.stem
    yield layer(CONV, stem.out, stem.stride, kernel=stem.kernel, act=stem.act)
    for plan in plan_blocks(spec, output_stride, dilation):
        block = plan.spec
        spatial = dict(stride=plan.stride, kernel=block.kernel, dilation=plan.dilation)
        if plan.has_expand:
            extra = spatial if block.fused else {}
            yield layer(CONV, block.expand, act=block.act, **extra)
        if not block.fused:
            yield layer(DEPTHWISE, block.expand, act=block.act, **spatial)
        if plan.se_hidden:
            yield layer(
                SQUEEZE_EXCITE, channels, act=block.se.gate, hidden=plan.se_hidden
            )
        # Without an activation the sum is part of the convolution; see `tracing`.
        linear = block.project_act is None
        yield layer(
            CONV,
            block.out,
            act=block.project_act,
            residual=plan.residual and linear,
        )
        if plan.residual and not linear:
            yield layer(ADD, channels)
    if spec.last:
        last = spec.last
        yield layer(CONV, last.out, last.stride, kernel=last.kernel, act=last.act)
    if classes:
        yield layer(POOL, channels)
        if spec.head:
            yield layer(LINEAR, spec.head.out, act=spec.head.act)
        yield layer(LINEAR, classes)
