"""The rules that derive a network from its table."""

import subprocess
import sys

import pytest

from mmnv3.arch import (
    ZOO,
    Network,
    choose_taps,
    find_taps,
    get_spec,
    list_taps,
    make_divisible,
    plan_blocks,
)
from mmnv3.arch.spec import BlockSpec, ConvSpec, NetSpec, SqueezeExcite
from mmnv3.errors import UserError

# Squeeze-and-excite widths of the networks of Tables 1 and 2.
SE_WIDTHS = {
    16: 8,
    72: 24,
    96: 24,
    120: 32,
    144: 40,
    240: 64,
    288: 72,
    480: 120,
    576: 144,
    672: 168,
    960: 240,
}


def test_arch_needs_no_torch() -> None:
    code = (
        'import sys, types\n'
        'package = types.ModuleType("mmnv3"); package.__path__ = ["mmnv3"]\n'
        'sys.modules["mmnv3"] = package\n'
        'import mmnv3.arch\n'
        'assert not {"torch", "numpy", "mmengine"} & set(sys.modules)'
    )
    subprocess.run([sys.executable, '-c', code], check=True)


@pytest.mark.parametrize(('expand', 'hidden'), SE_WIDTHS.items())
def test_se_width_is_a_quarter_of_the_expansion(expand: int, hidden: int) -> None:
    assert SqueezeExcite().hidden(16, expand) == hidden


def test_mnasnet_se_width_is_a_quarter_of_the_input() -> None:
    widths = [plan.se_hidden for plan in plan_blocks(ZOO['mnasnet_a1'])]
    assert [width for width in widths if width] == [6, 10, 10, 20, 28, 28, 40, 40]


@pytest.mark.parametrize(
    ('value', 'rounded'), [(18, 24), (12, 16), (11.2, 16), (5.6, 8), (147.2, 144)]
)
def test_make_divisible(value: float, rounded: int) -> None:
    assert make_divisible(value) == rounded


def test_residuals_are_those_of_the_paper() -> None:
    def residuals(arch: str) -> list[int]:
        plans = enumerate(plan_blocks(ZOO[arch]), 1)
        return [index for index, plan in plans if plan.residual]

    assert residuals('large') == [1, 3, 5, 6, 8, 9, 10, 12, 14, 15]
    assert residuals('small') == [3, 5, 6, 8, 10, 11]
    # slim gives EdgeTPU's block 14 none although its shapes allow it.
    assert 14 not in residuals('edgetpu')
    assert 13 in residuals('edgetpu')


@pytest.mark.parametrize(
    ('output_stride', 'strides', 'dilations'),
    [(32, [2, 1, 1], [1, 1, 1]), (16, [1, 1, 1], [1, 2, 2]), (8, [1, 1, 1], [2, 4, 4])],
)
def test_formerly_strided_block_keeps_the_rate(
    output_stride: int, strides: list[int], dilations: list[int]
) -> None:
    plans = list(plan_blocks(ZOO['large'], output_stride))[12:]
    assert [plan.stride for plan in plans] == strides
    assert [plan.dilation for plan in plans] == dilations


def test_halved_small_gains_a_residual_at_output_stride_16() -> None:
    spec = get_spec('small', tail='segmentation')
    assert not list(plan_blocks(spec, 32))[8].residual
    assert list(plan_blocks(spec, 16))[8].residual


def test_torchvision_dilates_from_the_formerly_strided_block() -> None:
    plans = list(plan_blocks(ZOO['large'], 16, 'torchvision'))[11:]
    assert [plan.dilation for plan in plans] == [1, 2, 2, 2]
    # And decides residuals on the original stride.
    halved = get_spec('small', tail='segmentation')
    assert not list(plan_blocks(halved, 16, 'torchvision'))[8].residual
    with pytest.raises(UserError, match='possible: tensorflow, torchvision'):
        list(plan_blocks(halved, 16, 'caffe'))


def test_segmentation_tails_of_the_paper() -> None:
    large = get_spec('large', tail='segmentation')
    assert [(b.expand, b.out) for b in large.blocks[12:]] == [
        (336, 80), (480, 80), (480, 80),
    ]  # fmt: skip
    assert large.last.out == 480
    # MobileNetV2's keeps the expansion, and has no last 1x1.
    v2 = get_spec('v2', tail='segmentation')
    assert [(b.expand, b.out) for b in v2.blocks[13:]] == [
        (576, 80), (480, 80), (480, 80), (480, 160),
    ]  # fmt: skip
    assert v2.last is None and get_spec('v2').last.out == 1280


def test_taps_of_the_paper() -> None:
    def shapes(arch: str, *names: str, **kwargs: str | float) -> list[tuple[int, int]]:
        taps = find_taps(get_spec(arch, **kwargs), names)
        return [(tap.channels, tap.reduction) for tap in taps]

    assert shapes('large', 'C4', 'C5') == [(672, 16), (960, 32)]
    assert shapes('large', 'C4', 'C5', tail='detection') == [(672, 16), (480, 32)]
    assert shapes('small', 'C4', 'C5', tail='detection') == [(288, 16), (288, 32)]
    assert shapes('large', 'C4', 'C5', tail='segmentation') == [(336, 16), (480, 32)]
    assert shapes('small', 'C4', 'C5', tail='segmentation') == [(144, 16), (288, 32)]
    assert shapes('large', 'block6.depthwise') == [(120, 8)]
    assert shapes('small', 'block3.depthwise') == [(88, 8)]
    assert shapes('v2', 'C4', 'C5') == [(576, 16), (1280, 32)]
    assert shapes('v1', 'C4', 'C5') == [(512, 16), (1024, 32)]


def test_taps_come_in_the_order_of_computation() -> None:
    names = list(list_taps(ZOO['large']))
    assert names[:3] == ['stem', 'block1.depthwise', 'block1']
    assert names[-2:] == ['block15', 'last']


# Expansions that slim builds at width 0.75.
SCALED = {
    'large': [16, 64, 72, 72, 96, 96, 192, 160, 144, 144, 384, 528, 528, 720, 720],
    'small': [16, 72, 88, 96, 192, 192, 96, 120, 240, 432, 432],
}


@pytest.mark.parametrize('arch', SCALED)
def test_expansions_are_ratios_of_the_scaled_input(arch: str) -> None:
    spec = get_spec(arch, 0.75)
    assert [block.expand for block in spec.blocks] == SCALED[arch]
    assert spec.head == ZOO[arch].head
    assert spec.last.out == make_divisible(ZOO[arch].last.out * 0.75)


@pytest.mark.parametrize(
    ('kwargs', 'possible'),
    [
        (dict(arch='nope'), 'large, small'),
        (dict(width=0), 'positive'),
        (dict(width=float('nan')), 'positive'),
        (dict(width=True), 'positive'),
        (dict(width='1'), 'positive'),
        (dict(width=1e308), 'at most 100'),
        (dict(arch=['large']), 'large, small'),
        (dict(tail=['detection']), 'detection, segmentation'),
        (dict(width=0.2), '0.25 and more'),
        (dict(tail='nope'), 'detection, segmentation'),
        (dict(arch='v1', tail='segmentation'), 'None, detection'),
    ],
)
def test_impossible_networks_say_what_is_possible(kwargs: dict, possible: str) -> None:
    with pytest.raises(UserError, match=possible) as error:
        get_spec(**kwargs)
    assert '\n' not in str(error.value)


@pytest.mark.parametrize(
    ('kwargs', 'said'),
    [
        (dict(residual='no'), "residual='no' is unknown; possible: True, False"),
        (dict(fused=1), 'fused=1 '),
        (dict(stride=True), 'stride=True '),
        (dict(stride=2.0), r'stride=2\.0 .*1, 2'),
        (dict(out=0), 'out=0 must be a positive integer'),
        (dict(out=1 << 20), 'at most 65536'),
        (dict(expand=16.0), r'expand=16\.0 '),
        (dict(kernel=True), 'kernel=True '),
        (dict(kernel=99), 'at most 31'),
        (dict(act=['relu']), 'relu, relu6, hswish'),
        (dict(project_act='gelu'), 'project_act=.gelu'),
        (dict(se=True), 'se=True must be a SqueezeExcite or None'),
    ],
)
def test_rows_of_wrong_types_name_the_setting(kwargs: dict, said: str) -> None:
    with pytest.raises(UserError, match=said):
        BlockSpec(**{**dict(kernel=3, expand=16, out=16), **kwargs})


@pytest.mark.parametrize(
    ('kwargs', 'said'),
    [
        (dict(name=3), 'name=3 must be a text'),
        (dict(stem=None), 'stem=None must be a ConvSpec'),
        (dict(last=8), 'last=8 must be a ConvSpec or None'),
        (dict(head=ConvSpec(8, kernel=3)), 'head of .x. must have kernel 1'),
        (dict(last=ConvSpec(8, stride=2)), 'last of .x. must have kernel 1'),
        (dict(blocks=[BlockSpec(3, 8, 8)]), 'must be a tuple'),
        (dict(blocks=(3,)), r'blocks\[0\]=3 must be a BlockSpec'),
        (dict(tail=1), 'None, detection'),
    ],
)
def test_networks_of_wrong_parts_name_the_setting(kwargs: dict, said: str) -> None:
    with pytest.raises(UserError, match=said):
        NetSpec(
            **{
                **dict(name='x', stem=ConvSpec(8), blocks=(BlockSpec(3, 8, 8),)),
                **kwargs,
            }
        )


@pytest.mark.parametrize(
    ('name', 'value'),
    [
        *(('ratio', value) for value in ('a', 0, float('nan'), True, 2)),
        *(('divisor', value) for value in (0, 1 << 20, 8.0)),
        ('of', 1),
        ('gate', None),
    ],
)
def test_impossible_squeeze_and_excite(name: str, value: object) -> None:
    with pytest.raises(UserError, match=f'^{name}='):
        SqueezeExcite(**{name: value})


@pytest.mark.parametrize(
    ('taps', 'said'),
    [
        (dict(out_taps=5), 'out_taps=5 must be a sequence'),
        (dict(out_taps=[['C5']]), 'no tap'),
        (dict(out_indices=3), 'out_indices=3 must be a sequence'),
        (dict(out_indices=['3']), "out_indices holds '3'"),
        (dict(out_indices=[True]), 'out_indices holds True'),
    ],
)
def test_taps_of_wrong_types(taps: dict, said: str) -> None:
    with pytest.raises(UserError, match=said):
        choose_taps(Network(ZOO['small']), **taps)


def test_impossible_strides_taps_and_rows_say_what_is_possible() -> None:
    with pytest.raises(UserError, match='32, 16, 8'):
        list(plan_blocks(ZOO['large'], 4))
    with pytest.raises(UserError, match=r'C4.*stem, block1'):
        find_taps(ZOO['large'], ['block1.expand'])
    with pytest.raises(UserError, match='relu, relu6, hswish'):
        ConvSpec(8, act='gelu')
    with pytest.raises(UserError, match='1, 2'):
        BlockSpec(3, 16, 16, stride=3)
    with pytest.raises(UserError, match='odd'):
        BlockSpec(4, 16, 16)
    with pytest.raises(UserError, match='no blocks'):
        NetSpec('x', ConvSpec(8), ())
    with pytest.raises(UserError, match='fused block of stride 2'):
        NetSpec('x', ConvSpec(8), (BlockSpec(3, 8, 16, 2, fused=True),))
