"""Inherited weights, and configs that follow, for the three tasks."""

import warnings

import pytest
import torch
from mmengine.config import Config
from torch.nn.modules.batchnorm import _BatchNorm

from mmnv3.engine.config import read_config
from mmnv3.errors import UserError
from mmnv3.search.netadapt.configs import build, config_rules, config_spec, with_spec
from mmnv3.search.netadapt.multipliers import uniform
from mmnv3.search.netadapt.proposals import edits, proposals
from mmnv3.search.netadapt.weights import inherit
from tests.conftest import ROOT
from tests.search.netadapt.oracle import madds

CONFIGS = {
    'detection': 'ssdlite_mnv3_small_demo',
    'segmentation': 'lraspp_mnv3_small_camvid',
    'raspp': 'raspp_mnv3_large_cityscapes',
    'classification': 'mnv3_small_imagenet',
    'mnasnet': 'ssdlite_mnasnet_a1_coco',
}
SIZE = {'detection': 320, 'mnasnet': 320}


@pytest.fixture(scope='module', params=CONFIGS)
def task(request) -> tuple[str, Config, torch.nn.Module]:
    config = read_config(f'{ROOT}/configs/{CONFIGS[request.param]}.py')
    torch.manual_seed(0)
    with warnings.catch_warnings():
        warnings.simplefilter('ignore')
        model = build(config)
    for module in model.modules():
        if isinstance(module, _BatchNorm):
            torch.nn.init.uniform_(module.weight, 0.5, 1.5)
            torch.nn.init.uniform_(module.running_mean, -0.2, 0.2)
            torch.nn.init.uniform_(module.running_var, 0.5, 1.5)
    return request.param, config, model


@torch.no_grad()
def outputs(model: torch.nn.Module) -> list[torch.Tensor]:
    torch.manual_seed(1)
    found = model.eval()(torch.randn(1, 3, 64, 64), mode='tensor')
    flat = []
    stack = [found]
    while stack:
        item = stack.pop()
        if isinstance(item, torch.Tensor):
            flat.append(item)
        else:
            stack.extend(item)
    return flat


def load(config: Config, state: dict) -> torch.nn.Module:
    model = build(config)
    model.load_state_dict(state)
    return model


def test_nothing_cut_is_the_network_itself(task):
    _, config, model = task
    spec = config_spec(config)
    state = inherit(config, model.state_dict(), spec, spec)
    assert all(torch.equal(state[k], v) for k, v in model.state_dict().items())
    pairs = zip(outputs(model), outputs(load(with_spec(config, spec), state)))
    assert all(torch.equal(a, b) for a, b in pairs)


def test_a_cut_of_silent_channels_changes_no_output(task):
    """All that reads or writes a channel follows, in backbone, neck and head."""
    _, config, model = task
    spec, rules = config_spec(config), config_rules(config)
    found = list(proposals(spec, madds, 0.01 * madds(spec), rules))
    # One of each kind; those that feed a tap among them.
    for proposal in {p.name.split()[1]: p for p in found}.values():
        state = {k: v.clone() for k, v in model.state_dict().items()}
        silence(state, config, spec, proposal.spec)
        full = load(with_spec(config, spec), state)
        small = inherit(config, state, spec, proposal.spec)
        cut = load(with_spec(config, proposal.spec), small)
        compared = 0
        for a, b in zip(outputs(full), outputs(cut)):
            if a.shape == b.shape:
                compared += 1
                torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-4)
        assert compared


def silence(state, config, old, new) -> None:
    """Makes the channels that will go silent: a filter of zeros and no offset."""
    rules = config_rules(config)
    for before, after in zip(rules.plan(old), rules.plan(new)):
        # A narrower bottleneck also means narrower inputs without an expansion.
        for layer, width in (
            ('expand', after.spec.expand),
            ('project', after.spec.out),
        ):
            key = f'backbone.{before.name}.{layer}'
            if f'{key}.conv.weight' in state:
                _silence(state, key, width)
        key = f'backbone.{before.name}.depthwise'
        if f'{key}.conv.weight' in state:
            _silence(state, key, after.spec.expand)
        reduce = f'backbone.{before.name}.se.reduce'
        if before.se_hidden != after.se_hidden:
            state[f'{reduce}.weight'][after.se_hidden :] = 0
            state[f'{reduce}.bias'][after.se_hidden :] = 0
    _silence(state, 'backbone.stem', new.stem.out)


def _silence(state, key, width) -> None:
    state[f'{key}.conv.weight'][width:] = 0
    for name in ('weight', 'bias', 'running_mean'):
        state[f'{key}.bn.{name}'][width:] = 0


def test_the_largest_filters_stay(task):
    _, config, model = task
    spec, state = config_spec(config), dict(model.state_dict())
    edit = next(e for e in edits(spec, config_rules(config)) if e.kind == 'expand')
    key = f'backbone.block{edit.layers[0]}.expand.conv.weight'
    width = edit.width - 8
    weights = torch.ones_like(state[key])
    weights[3:11] = 0.5
    state[key] = weights
    cut = inherit(config, state, spec, edit.apply(spec, width))
    bias = key.replace('conv.weight', 'bn.bias')
    order = [*range(3), *range(11, edit.width)]
    assert torch.equal(cut[bias], state[bias][order])


def test_neck_and_head_follow(task):
    name, config, _ = task
    spec, rules = config_spec(config), config_rules(config)
    scaled = with_spec(config, uniform(spec, 0.5, rules))
    channels = build(scaled).backbone.out_channels
    model = scaled.model
    if name in ('detection', 'mnasnet'):
        assert tuple(model.neck.in_channels) == channels
        assert tuple(model.bbox_head.in_channels[:2]) == channels
        assert model.bbox_head.in_channels[2:] == config.model.bbox_head.in_channels[2:]
    elif name == 'classification':
        assert model.head.in_channels == channels[-1]
    else:
        width = model.decode_head.in_channels
        assert (width if isinstance(width, tuple) else (width,)) == channels
    # A pretrained file is another network's.
    config.model.backbone.init_cfg = dict(type='Pretrained', checkpoint='x')
    assert with_spec(config, spec).model.backbone.init_cfg is None


def test_a_multiplier_inherits_by_the_same_rule(task):
    _, config, model = task
    spec = config_spec(config)
    scaled = uniform(spec, 0.75, config_rules(config))
    state = inherit(config, model.state_dict(), spec, scaled)
    assert all(
        x.isfinite().all() for x in outputs(load(with_spec(config, scaled), state))
    )


def test_wider_networks_and_foreign_backbones_are_refused(task):
    _, config, model = task
    spec = config_spec(config)
    narrow = uniform(spec, 0.5)
    with pytest.raises(UserError, match='narrower networks only'):
        inherit(config, inherit(config, model.state_dict(), spec, narrow), narrow, spec)
    foreign = Config(
        dict(model=dict(backbone=dict(type='ResNet')), default_scope='mmdet')
    )
    with pytest.raises(UserError, match=r'mmnv3\.MobileNetV3'):
        config_spec(foreign)
