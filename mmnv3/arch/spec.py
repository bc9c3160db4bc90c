"""The specification of a network: frozen dataclasses, and the shape each block gets.

A :class:`NetSpec` is the only description of a network in this package: the backbone
builds it, the analysis counts it, the searches edit it. Channel counts in it are
absolute, as the paper prints them; what follows from a block's neighbours (its input
width, whether it has a residual, its dilation) is derived by :func:`plan_blocks`.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator
from dataclasses import dataclass

from mmnv3.errors import UserError

ACTIVATIONS = ('relu', 'relu6', 'hswish')
GATES = ('hsigmoid', 'hsigmoid_tf', 'sigmoid')
STRIDES = (1, 2)
OUTPUT_STRIDES = (32, 16, 8)
DILATIONS = ('tensorflow', 'torchvision')
PADDINGS = ('same', 'symmetric')
TASKS = ('detection', 'segmentation')
# Far beyond any network, and near enough that one can be built.
_MOST_CHANNELS, _LARGEST_KERNEL = 1 << 16, 31


def make_divisible(value: float, divisor: int = 8) -> int:
    """Rounds a channel count to a multiple of ``divisor`` as TensorFlow's slim does.

    The result is at least ``divisor`` and never loses more than 10 % of ``value``.
    Source: slim ``nets/mobilenet/mobilenet.py``.
    """
    rounded = max(divisor, int(value + divisor / 2) // divisor * divisor)
    return rounded + divisor if rounded < 0.9 * value else rounded


def _check(ok: bool, message: str) -> None:
    if not ok:
        raise UserError(message)


def check_choice(name: str, value: object, choices: Collection[object]) -> None:
    """Checks that a setting has one of its values.

    Raises:
        UserError: When it has another, be it an equal one of another type, as 32.0 for
            32; lists the possible ones.
    """
    if not any(type(value) is type(each) and value == each for each in choices):
        raise UserError(
            f'{name}={value!r} is unknown; possible: {", ".join(map(str, choices))}'
        )


def check_count(name: str, value: object, most: int = _MOST_CHANNELS) -> None:
    """Checks a number of channels, classes or levels.

    Args:
        name: Of the setting.
        value: What somebody gave.
        most: That is possible.

    Raises:
        UserError: When it is not a positive integer, or too large to be built.
    """
    if type(value) is not int or not 0 < value <= most:
        raise UserError(f'{name}={value!r} must be a positive integer, at most {most}')


def check_counts(name: str, values: object, length: int | None = None) -> None:
    """Checks a sequence of such numbers.

    Args:
        name: Of the setting.
        values: What somebody gave.
        length: How many there must be; None for any number.

    Raises:
        UserError: When it is anything else.
    """
    if not isinstance(values, list | tuple) or length not in (None, len(values)):
        many = 'numbers' if length is None else f'{length} numbers'
        raise UserError(f'{name}={values!r} must be a sequence of {many}')
    for index, value in enumerate(values):
        check_count(f'{name}[{index}]', value)


def check_positive(name: str, value: object, most: float) -> None:
    """Checks a real number.

    Raises:
        UserError: When it is none, or not above 0 and at most ``most``.
    """
    if not (isinstance(value, int | float) and 0 < value <= most) or value is True:
        raise UserError(f'{name}={value!r} must be a positive number, at most {most:g}')


def _check_kernel(value: int) -> None:
    check_count('kernel', value, _LARGEST_KERNEL)
    _check(value % 2 == 1, f'kernel={value} must be odd')


def _check_part(name: str, value: object, kind: type, optional: bool = False) -> None:
    if not isinstance(value, kind) and not (optional and value is None):
        none = ' or None' if optional else ''
        raise UserError(f'{name}={value!r} must be a {kind.__name__}{none}')


@dataclass(frozen=True)
class ConvSpec:
    """A convolution with its activation: the stem, the last 1×1, or the head's 1×1.

    Args:
        out: Output channels.
        kernel: Kernel size.
        stride: Stride.
        act: Activation, one of :data:`ACTIVATIONS`.
        scaled: Which width multipliers change ``out``: ``'always'``, ``'up'`` (only
            those above 1, as MobileNetV2's last convolution) or ``'never'``.
    """

    out: int
    kernel: int = 1
    stride: int = 1
    act: str = 'hswish'
    scaled: str = 'always'

    def __post_init__(self) -> None:
        check_count('out', self.out)
        _check_kernel(self.kernel)
        check_choice('stride', self.stride, STRIDES)
        check_choice('act', self.act, ACTIVATIONS)
        check_choice('scaled', self.scaled, ('always', 'up', 'never'))


@dataclass(frozen=True)
class SqueezeExcite:
    """The rule that gives a block's squeeze-and-excite its hidden width, and its gate.

    Args:
        of: The width it is a fraction of: the block's ``'expand'`` (MobileNetV3) or
            its ``'input'`` (MnasNet).
        ratio: That fraction.
        divisor: The hidden width is a multiple of it; 1 truncates as MnasNet does.
        gate: ``'hsigmoid'``, ReLU6(x + 3) / 6 (MobileNetV3, Section 5.2);
            ``'hsigmoid_tf'``, the same times 0.16667 instead, as the original code
            computes it (slim ``mobilenet_v3.py``); or ``'sigmoid'``.
    """

    of: str = 'expand'
    ratio: float = 0.25
    divisor: int = 8
    gate: str = 'hsigmoid'

    def __post_init__(self) -> None:
        check_choice('of', self.of, ('expand', 'input'))
        check_choice('gate', self.gate, GATES)
        check_count('divisor', self.divisor)
        check_positive('ratio', self.ratio, 1)

    def hidden(self, in_channels: int, expand: int) -> int:
        """Hidden channels of a block with these input and expansion widths."""
        base = self.ratio * (expand if self.of == 'expand' else in_channels)
        return (
            max(1, int(base))
            if self.divisor == 1
            else make_divisible(base, self.divisor)
        )


@dataclass(frozen=True)
class BlockSpec:
    """One bottleneck: expand 1×1, depthwise k×k, squeeze-excite, project 1×1.

    Args:
        kernel: Kernel of the depthwise convolution (of the expansion where fused).
        expand: Channels between expansion and projection. Where it equals the input
            width there is no expansion convolution.
        out: Output channels.
        stride: 1 or 2, before any output-stride rewriting.
        act: Activation after expansion and depthwise.
        se: Squeeze-and-excite rule, or None.
        residual: Whether the block adds its input where shapes allow it.
        fused: A full k×k convolution expands and there is no depthwise (EdgeTPU).
        project_act: Activation after the projection; None is the linear bottleneck.
    """

    kernel: int
    expand: int
    out: int
    stride: int = 1
    act: str = 'relu'
    se: SqueezeExcite | None = None
    residual: bool = True
    fused: bool = False
    project_act: str | None = None

    def __post_init__(self) -> None:
        _check_kernel(self.kernel)
        for name in ('expand', 'out'):
            check_count(name, getattr(self, name))
        check_choice('stride', self.stride, STRIDES)
        check_choice('act', self.act, ACTIVATIONS)
        _check_part('se', self.se, SqueezeExcite, optional=True)
        for name in ('residual', 'fused'):
            check_choice(name, getattr(self, name), (True, False))
        check_choice('project_act', self.project_act, (None, *ACTIVATIONS))


@dataclass(frozen=True)
class NetSpec:
    """A whole network.

    Args:
        name: What people call it.
        stem: First convolution.
        blocks: The bottlenecks, numbered from 1 as in the paper's tables.
        last: The 1×1 convolution before pooling, or None (MobileNetV1).
        head: The 1×1 convolution after pooling, with bias and without BN (the
            efficient last stage, Section 5.1), or None.
        tail: The task whose tail has been applied, one of :data:`TASKS`; None for the
            classifier's network.
    """

    name: str
    stem: ConvSpec
    blocks: tuple[BlockSpec, ...]
    last: ConvSpec | None = None
    head: ConvSpec | None = None
    tail: str | None = None

    def __post_init__(self) -> None:
        _check(isinstance(self.name, str), f'name={self.name!r} must be a text')
        check_choice('tail', self.tail, (None, *TASKS))
        _check_part('stem', self.stem, ConvSpec)
        for name in ('last', 'head'):
            conv = getattr(self, name)
            _check_part(name, conv, ConvSpec, optional=True)
            _check(
                conv is None or conv.kernel == conv.stride == 1,
                f'{name} of {self.name!r} must have kernel 1 and stride 1',
            )
        _check_part('blocks', self.blocks, tuple)
        _check(len(self.blocks) > 0, f'network {self.name!r} has no blocks')
        for index, block in enumerate(self.blocks):
            _check_part(f'blocks[{index}]', block, BlockSpec)
        channels = self.stem.out
        for index, block in enumerate(self.blocks, 1):
            _check(
                not (block.fused and block.stride > 1 and block.expand == channels),
                f'block{index} of {self.name!r}: a fused block of stride 2 needs '
                f'expand != {channels}, since its expansion carries the stride',
            )
            channels = block.out

    @property
    def out_channels(self) -> int:
        """Channels of the last feature map."""
        return self.last.out if self.last else self.blocks[-1].out


@dataclass(frozen=True)
class BlockPlan:
    """A block with what its neighbours and the output stride decide.

    Args:
        name: ``'block1'`` …
        spec: The block's specification.
        in_channels: Input channels.
        stride: Stride after output-stride rewriting.
        dilation: Dilation of the k×k convolution.
        residual: Whether the input is added.
        se_hidden: Hidden channels of squeeze-and-excite; 0 for none.
        reduction: How many times smaller than the image the output is.
        nominal_stride: The same as if nothing were rewritten.
    """

    name: str
    spec: BlockSpec
    in_channels: int
    stride: int
    dilation: int
    residual: bool
    se_hidden: int
    reduction: int
    nominal_stride: int

    @property
    def has_expand(self) -> bool:
        """Whether the block has an expansion convolution."""
        return self.spec.expand != self.in_channels

    @property
    def expand_reduction(self) -> int:
        """Reduction of the expansion's output."""
        return self.reduction if self.spec.fused else self.reduction // self.stride


def plan_blocks(
    spec: NetSpec, output_stride: int = 32, dilation: str = 'tensorflow'
) -> Iterator[BlockPlan]:
    """Derives what every block of a network looks like when it is built.

    A block that would take the reduction beyond ``output_stride`` keeps its resolution,
    and later blocks are dilated in its stead.

    Args:
        spec: The network.
        output_stride: 32, 16 or 8.
        dilation: What becomes of the block itself that keeps its resolution.
            ``'tensorflow'``: it is not dilated, and where its input and output are of
            one width it gains a residual, since slim asks for the rewritten stride.
            Of the paper's networks that is MobileNetV3-Small's halved block 9 at output
            stride 16. ``'torchvision'``: it is dilated like those after it, and keeps
            the residual that the original stride gives it: none.

    Raises:
        UserError: For any other output stride or dilation.
    """
    check_choice('output_stride', output_stride, OUTPUT_STRIDES)
    check_choice('dilation', dilation, DILATIONS)
    like_torchvision = dilation == 'torchvision'
    channels, reduction, rate = spec.stem.out, spec.stem.stride, 1
    nominal = reduction
    for index, block in enumerate(spec.blocks, 1):
        nominal *= block.stride
        stride = block.stride if reduction * block.stride <= output_stride else 1
        reduction *= stride
        next_rate = rate * (block.stride // stride)
        se_hidden = block.se.hidden(channels, block.expand) if block.se else 0
        deciding_stride = block.stride if like_torchvision else stride
        yield BlockPlan(
            name=f'block{index}',
            spec=block,
            in_channels=channels,
            stride=stride,
            dilation=next_rate if like_torchvision else rate,
            residual=block.residual and deciding_stride == 1 and channels == block.out,
            se_hidden=se_hidden,
            reduction=reduction,
            nominal_stride=nominal,
        )
        channels, rate = block.out, next_rate
