"""The backbone: parity with torchvision, the paper's counts, and its options."""

from pathlib import Path

import pytest
import torch
import torchvision
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

from mmnv3.arch import ZOO, get_spec, list_taps, save_spec
from mmnv3.errors import UserError
from mmnv3.models import MobileNetV3
from tests.models.parity import copy_in_order, shake_norms


@pytest.mark.parametrize('arch', ['large', 'small'])
@pytest.mark.parametrize('size', [224, 161])
def test_features_equal_torchvision(arch: str, size: int) -> None:
    torch.manual_seed(0)
    theirs = getattr(torchvision.models, f'mobilenet_v3_{arch}')(weights=None)
    theirs = theirs.features.eval()
    shake_norms(theirs)
    names = list(range(len(theirs)))
    ours = MobileNetV3(arch, padding='symmetric', out_indices=names).eval()
    copy_in_order(theirs, ours)
    x = torch.randn(2, 3, size, size)
    with torch.no_grad():
        for index, found in enumerate(ours(x)):
            expected = theirs[: index + 1](x)
            assert found.shape == expected.shape
            scale = expected.abs().max()
            assert (found - expected).abs().max() <= 1e-4 * max(scale, 1), index


def test_dilated_features_differ_from_torchvision_in_the_first_rate_only() -> None:
    torch.manual_seed(0)
    theirs = torchvision.models.mobilenet_v3_large(weights=None, dilated=True)
    theirs = theirs.features.eval()
    ours = MobileNetV3('large', padding='symmetric', output_stride=16).eval()
    copy_in_order(theirs, ours)
    # torchvision dilates the block that lost its stride; TensorFlow does not.
    assert theirs[13].block[1][0].dilation == (2, 2)
    theirs[13].block[1][0].dilation = (1, 1)
    theirs[13].block[1][0].padding = (2, 2)
    x = torch.randn(1, 3, 97, 97)
    with torch.no_grad():
        torch.testing.assert_close(ours(x)[0], theirs(x), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize('arch', ZOO)
@pytest.mark.parametrize('output_stride', [32, 16, 8])
def test_every_network_builds_at_every_stride(arch: str, output_stride: int) -> None:
    taps = list(list_taps(ZOO[arch], output_stride))
    net = MobileNetV3(arch, output_stride=output_stride, out_taps=taps).eval()
    with torch.no_grad():
        found = net(torch.randn(1, 3, 65, 97))
    for tap, x in zip(net.taps, found, strict=True):
        assert x.shape[1] == tap.channels, tap
        assert x.shape[2:] == (-(-65 // tap.reduction), -(-97 // tap.reduction)), tap
    assert net.out_channels == tuple(x.shape[1] for x in found)


def test_taps_are_what_they_say() -> None:
    net = MobileNetV3(
        'large', tail='detection', out_taps=('C5', 'C4', 'block6.depthwise')
    ).eval()
    seen = {}
    net.block13.expand.register_forward_hook(lambda *a: seen.update(C4=a[2]))
    net.block6.depthwise.register_forward_hook(lambda *a: seen.update(low=a[2]))
    net.last.register_forward_hook(lambda *a: seen.update(C5=a[2]))
    with torch.no_grad():
        last, middle, low = net(torch.randn(1, 3, 64, 64))
    assert last is seen['C5'] and last.shape == (1, 480, 2, 2)
    assert middle is seen['C4'] and middle.shape == (1, 672, 4, 4)
    assert low is seen['low'] and low.shape == (1, 120, 8, 8)


def test_layers_beyond_the_last_tap_are_not_built() -> None:
    whole = MobileNetV3('large', out_taps=('C4', 'C5'))
    part = MobileNetV3('large', out_taps=('block6.depthwise', 'C4')).eval()
    assert part.layers[-1] == 'block13'
    assert [name for name, _ in part.block13.named_children()] == ['expand']
    assert not hasattr(part, 'block14') and not hasattr(part, 'last')
    part.load_state_dict(whole.eval().state_dict(), strict=False)
    x = torch.randn(1, 3, 64, 64)
    with torch.no_grad():
        torch.testing.assert_close(part(x)[1], whole(x)[0])


def test_out_indices_are_block_outputs() -> None:
    net = MobileNetV3('small', out_indices=(0, 3, -1))
    # mmpretrain's tools name results by them.
    assert net.out_indices == (0, 3, 12)
    assert MobileNetV3(out_taps=('block7.expand', 'C5')).out_indices == (7, 16)
    assert [tap.name for tap in net.taps] == ['stem', 'block3', 'last']
    assert net.out_reductions == (2, 8, 32)


def test_a_file_as_arch(tmp_path: Path) -> None:
    save_spec(get_spec('small', 0.5), tmp_path / 'my_net.json')
    net = MobileNetV3(arch=str(tmp_path / 'my_net.json'))
    assert net.spec == get_spec('small', 0.5)


def test_train_returns_self_and_keeps_frozen_layers() -> None:
    net = MobileNetV3('small', frozen_stages=2)
    assert net.train() is net
    frozen = [net.stem, net.block1, net.block2]
    assert not any(p.requires_grad for part in frozen for p in part.parameters())
    assert all(p.requires_grad for p in net.block3.parameters())
    assert not net.block2.training and net.block3.training
    before = net.stem.bn.running_mean.clone()
    net(torch.randn(2, 3, 64, 64))
    assert torch.equal(net.stem.bn.running_mean, before)
    evaluated = MobileNetV3('small', norm_eval=True).train()
    assert evaluated.training
    assert not any(
        part.training for part in evaluated.modules() if isinstance(part, _BatchNorm)
    )


def test_norm_cfg_and_init_cfg() -> None:
    net = MobileNetV3(
        'small',
        norm_cfg=dict(type='BN', eps=1e-5, momentum=0.03),
        init_cfg=dict(type='TruncNormal', layer='Conv2d', std=0.03),
    )
    norms = [part for part in net.modules() if isinstance(part, _BatchNorm)]
    assert {(part.eps, part.momentum) for part in norms} == {(1e-5, 0.03)}
    torch.manual_seed(0)
    net.init_weights()
    weight = net.block10.expand.conv.weight
    assert 0.025 < weight.std().item() < 0.031
    assert weight.abs().max() <= 2.0  # truncated at fixed bounds
    default = [p for p in MobileNetV3('small').modules() if isinstance(p, _BatchNorm)]
    assert {part.eps for part in default} == {1e-3}


def test_with_cp_changes_memory_not_results() -> None:
    torch.manual_seed(0)
    plain = MobileNetV3('small', out_taps=('C4', 'C5'), norm_eval=True).train()
    saving = MobileNetV3(
        'small', out_taps=('C4', 'C5'), norm_eval=True, with_cp=True
    ).train()
    saving.load_state_dict(plain.state_dict())
    x = torch.randn(2, 3, 64, 64)
    for net in (plain, saving):
        sum(out.square().mean() for out in net(x)).backward()
    for (name, one), two in zip(plain.named_parameters(), saving.parameters()):
        torch.testing.assert_close(one.grad, two.grad, msg=name)


def test_memory_layout_does_not_leak_into_results() -> None:
    net = MobileNetV3('small').eval()
    x = torch.randn(1, 3, 64, 64)
    with torch.no_grad():
        wide = net(x.contiguous(memory_format=torch.channels_last))[0]
        assert torch.equal(net(x)[0], wide)


@pytest.mark.parametrize(
    ('kwargs', 'message'),
    [
        (dict(out_taps=('C9',)), 'possible: C5, C4, stem'),
        (dict(out_taps=()), 'empty'),
        (dict(out_taps='C4'), 'sequence'),
        (dict(out_taps=('C4',), out_indices=(1,)), 'not both'),
        (dict(out_indices=(17,)), 'possible: 0 to 16'),
        (dict(frozen_stages=17), 'possible: -1 to 16'),
        (dict(output_stride=64), '32, 16, 8'),
        (dict(padding='valid'), 'same, symmetric'),
        (dict(arch='mobilenet'), 'large, small'),
        (dict(arch=3), 'large, small'),
        (dict(frozen_stages='all'), "frozen_stages='all'.*possible: -1 to 16"),
        (dict(norm_cfg=dict(type='Batch')), 'norm_cfg=.*names no normalisation'),
        (dict(norm_cfg='BN'), "norm_cfg='BN' names no normalisation"),
    ],
)
def test_impossible_options_say_what_is_possible(kwargs: dict, message: str) -> None:
    with pytest.raises(UserError, match=message) as error:
        MobileNetV3(**kwargs)
    assert '\n' not in str(error.value)


def test_defaults_are_the_large_network() -> None:
    net = MobileNetV3()
    assert net.spec is ZOO['large']
    assert net.out_channels == (960,)
    assert isinstance(net.stem.activate, nn.Hardswish)
