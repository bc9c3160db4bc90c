import random
from dataclasses import replace

import pytest
import torch

from mmnv3.arch import (
    BlockSpec,
    ConvSpec,
    NetSpec,
    SqueezeExcite,
    load_spec,
    plan_blocks,
    save_spec,
)
from mmnv3.errors import UserError
from mmnv3.models import MobileNetV3
from mmnv3.search.nas.space import SPACES, Space, Stage, get_space

TINY = Space(
    'tiny',
    ConvSpec(16, kernel=3, stride=2, act='relu'),
    (Stage(2, 24, 2), Stage(1, 40, 1)),
    ConvSpec(64, act='relu'),
)


def test_decode_gives_the_network_that_is_written_by_hand():
    # bottleneck6, 5×5, SE, residual, 1.25 of 24 (30 → 32), one layer more; then
    # separable, 3×3, neither, 0.75 of 40 (30 → 32), no layer less than one.
    tokens = (3, 1, 1, 1, 2, 2, 1, 0, 0, 0, 0, 0)
    se = SqueezeExcite(ratio=0.25)
    assert TINY.decode(tokens) == NetSpec(
        'nas_tiny',
        ConvSpec(16, kernel=3, stride=2, act='relu'),
        (
            BlockSpec(5, 96, 32, 2, 'relu', se),
            BlockSpec(5, 192, 32, 1, 'relu', se),
            BlockSpec(5, 192, 32, 1, 'relu', se),
            BlockSpec(3, 32, 32, 1, 'relu', residual=False),
        ),
        ConvSpec(64, act='relu'),
    )


def test_a_regular_convolution_is_a_fused_block():
    blocks = TINY.decode((0, 0, 0, 1, 1, 1, 2, 0, 0, 1, 1, 1)).blocks
    assert blocks[0] == BlockSpec(3, 48, 24, 2, 'relu', fused=True)
    assert blocks[2] == BlockSpec(3, 72, 40, 1, 'relu')


def test_size():
    # 4 ops · 2 kernels · 2 SE · 2 skips · 3 widths · 3 depths = 288 a stage.
    assert TINY.size == 288**2
    assert SPACES['small'].size == 288**5 == 1_981_355_655_168
    assert SPACES['large'].size == 288**7


@pytest.mark.parametrize('name', SPACES)
@pytest.mark.parametrize('tail', [None, 'detection'])
def test_random_networks_build(name, tail, tmp_path):
    space, rng = get_space(name, tail), random.Random(0)
    for trial in range(50):
        spec = space.decode(space.random(rng))
        for plan in plan_blocks(spec):
            assert plan.spec.out % 8 == plan.spec.expand % 8 == 0
            assert plan.residual == (
                plan.spec.residual
                and plan.stride == 1
                and plan.in_channels == plan.spec.out
            )
        if trial >= 4:
            continue  # Building takes a while.
        with torch.device('meta'):
            backbone = MobileNetV3(arch=spec, out_taps=('C4', 'C5'))
            maps = backbone(torch.empty(1, 3, 64, 64))
        assert [x.shape[-1] for x in maps] == [4, 2]
    save_spec(spec, tmp_path / 'found.json')
    assert load_spec(tmp_path / 'found.json') == spec


def test_tail_halves_what_comes_at_stride_32():
    whole, halved = get_space('large'), get_space('large', 'detection')
    assert [s.out for s in halved.stages] == [16, 24, 32, 64, 96, 80, 160]
    assert [s.stride for s in halved.stages] == [s.stride for s in whole.stages]
    assert halved.last == replace(whole.last, out=640)


def test_errors():
    with pytest.raises(UserError, match="'huge' is unknown; possible: large, small"):
        get_space('huge')
    with pytest.raises(ValueError, match="11 tokens; the space 'tiny' takes 12"):
        TINY.decode((0,) * 11)
