"""Networks that are not in the zoo: renamed, and as NetAdapt leaves them."""

import copy
from dataclasses import replace
from functools import partial
from pathlib import Path

import pytest
import torch
from timm.models._efficientnet_blocks import SqueezeExcite
from timm.models._efficientnet_builder import decode_arch_def, round_channels
from timm.models.mobilenetv3 import MobileNetV3 as TimmNet
from torch import nn
from torchvision.models.mobilenetv3 import InvertedResidualConfig
from torchvision.models.mobilenetv3 import MobileNetV3 as TorchvisionNet

from mmnv3.arch import ZOO, NetSpec, get_spec, plan_blocks, save_spec
from mmnv3.convert import from_ours, to_ours
from mmnv3.convert.naming import timm as timm_names
from mmnv3.errors import UserError
from mmnv3.models import MobileNetV3
from tests.networks import edited_small
from tests.tools import fork_tool


def torchvision_net(spec: NetSpec) -> nn.Module:
    rows = [
        InvertedResidualConfig(
            plan.in_channels, plan.spec.kernel, plan.spec.expand, plan.spec.out,
            plan.spec.se is not None, {'relu': 'RE', 'hswish': 'HS'}[plan.spec.act],
            plan.spec.stride, 1, 1.0,
        )
        for plan in plan_blocks(spec)
    ]  # fmt: skip
    return TorchvisionNet(rows, spec.head.out, num_classes=10)


# As timm's `_gen_mobilenet_v3` has them, but for the widths.
STAGES = [
    ['ds_r1_k3_s2_e1_c16_se0.25_nre'],
    ['ir_r1_k3_s2_e3.5_c24_nre', 'ir_r1_k3_s1_e3.6667_c24_nre'],
    ['ir_r1_k5_s2_e4_c32_se0.25', 'ir_r2_k5_s1_e7.5_c32_se0.25'],
    ['ir_r1_k5_s1_e3.75_c40_se0.25', 'ir_r1_k5_s1_e3.6_c40_se0.25'],
    ['ir_r1_k5_s2_e6.6_c88_se0.25', 'ir_r2_k5_s1_e6.5454_c88_se0.25'],
    ['cn_r1_k1_s1_c528'],
]


def timm_net(_: NetSpec) -> nn.Module:
    return TimmNet(
        decode_arch_def(STAGES),
        num_classes=10,
        num_features=1024,
        stem_size=16,
        act_layer=nn.Hardswish,
        se_layer=partial(
            SqueezeExcite,
            gate_layer='hard_sigmoid',
            force_act_layer=nn.ReLU,
            rd_round_fn=round_channels,
        ),
    )


@pytest.mark.parametrize(
    ('project', 'build'), [('torchvision', torchvision_net), ('timm', timm_net)]
)
def test_an_edited_network_converts_there_and_back(project: str, build: object) -> None:
    torch.manual_seed(0)
    spec = edited_small()
    theirs = build(spec).eval()
    given = theirs.state_dict()
    with pytest.raises(UserError, match='nothing was converted'):
        to_ours(given, project)
    converted = to_ours(given, project, spec=spec)
    assert str(converted.network) == f'{project} classification: cut, 10 classes'
    ours = MobileNetV3(
        spec, padding='symmetric', norm_cfg=dict(type='BN', eps=_eps(theirs))
    )
    ours.load_state_dict(
        {
            key.removeprefix('backbone.'): value
            for key, value in converted.state.items()
            if key.startswith('backbone.')
        }
    )
    x = torch.randn(1, 3, 64, 96)
    with torch.no_grad():
        expected = (
            theirs.features(x) if project == 'torchvision' else theirs.blocks(
                theirs.bn1(theirs.conv_stem(x))
            )
        )  # fmt: skip
        torch.testing.assert_close(ours.eval()(x)[0], expected, atol=1e-4, rtol=1e-4)
    back = from_ours(converted.state, project, spec).state
    assert back.keys() == given.keys()
    assert all(torch.equal(back[key], given[key]) for key in given)


def _eps(net: nn.Module) -> float:
    return next(m.eps for m in net.modules() if isinstance(m, nn.BatchNorm2d))


@pytest.mark.parametrize('width', [1.0, 0.75, 1.25])
@pytest.mark.parametrize('arch', ['large', 'small', 'large_minimalistic'])
def test_timms_groups_are_those_of_the_table(arch: str, width: float) -> None:
    """They are groups of one output width in the paper's table."""
    groups: list[list[int]] = []
    for number, block in enumerate(ZOO[arch].blocks, 1):
        if not groups or ZOO[arch].blocks[groups[-1][-1] - 1].out != block.out:
            groups.append([])
        groups[-1].append(number)
    renamed = replace(get_spec(arch, width), name='mine')
    named = {
        part.ours.split('.')[1]: part.conv.split('.')[1:3]
        for part in timm_names(renamed)
        if '.block' in part.ours
    }
    assert named == {
        f'block{number}': [str(group), str(place)]
        for group, numbers in enumerate(groups)
        for place, number in enumerate(numbers)
    }


def test_a_renamed_network_is_that_of_the_zoo() -> None:
    spec = replace(ZOO['large'], name='mine')
    state = {f'backbone.{k}': v for k, v in MobileNetV3(spec).state_dict().items()}
    for project in ('torchvision', 'mmpretrain'):
        there = from_ours(state, project, spec).state
        back = to_ours(there, project, spec=spec).state
        assert all(torch.equal(back[key], state[key]) for key in state)


def test_names_of_others_hold_no_fused_blocks() -> None:
    blocks = ZOO['edgetpu'].blocks[:12]
    spec = replace(ZOO['edgetpu'], name='mine', blocks=blocks)
    state = {f'backbone.{k}': v for k, v in MobileNetV3(spec).state_dict().items()}
    with pytest.raises(UserError, match='timm has no network that could hold'):
        from_ours(state, 'timm', spec)


def test_the_tool_takes_the_configs_own_network(tmp_path: Path) -> None:
    spec = edited_small()
    save_spec(spec, tmp_path / 'cut.json')
    (tmp_path / 'config.py').write_text(
        f"_base_ = '{Path('configs/mnv3_small_imagenet_tv.py').resolve()}'\n"
        'model = dict(\n'
        "    backbone=dict(arch='{{ fileDirname }}/cut.json'),\n"
        '    head=dict(in_channels=528, num_classes=10, topk=(1,)),\n'
        ')\n'
    )
    torch.save(torchvision_net(spec).state_dict(), tmp_path / 'cut.pth')

    def convert(*args: object) -> None:
        done = fork_tool(
            'convert_checkpoint.py', *args, '--config', tmp_path / 'config.py'
        )
        assert done.returncode == 0, done.stderr
        assert 'classification: cut, 10 classes' in done.stderr

    convert(tmp_path / 'cut.pth', '--out', tmp_path / 'ours.pth')
    convert(
        tmp_path / 'ours.pth', '--to', 'torchvision', '--out', tmp_path / 'back.pth'
    )
    before, after = (
        torch.load(tmp_path / name, weights_only=True)
        for name in ('cut.pth', 'back.pth')
    )
    assert all(torch.equal(after[key], before[key]) for key in before)


def test_foreign_weights_of_an_edited_network_load_from_a_config(
    tmp_path: Path,
) -> None:
    theirs = torchvision_net(edited_small())
    torch.save(theirs.state_dict(), tmp_path / 'cut.pth')
    net = MobileNetV3(
        edited_small(),
        init_cfg=dict(
            type='mmnv3.ForeignPretrained', checkpoint=str(tmp_path / 'cut.pth')
        ),
    )
    before = copy.deepcopy(net.stem.conv.weight)
    net.init_weights()
    assert not torch.equal(net.stem.conv.weight, before)
    assert torch.equal(net.stem.conv.weight, theirs.features[0][0].weight)
