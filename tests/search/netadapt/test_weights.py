"""Inherited weights, for the three tasks."""

import warnings

import pytest
import torch
from mmengine.config import Config
from torch.nn.modules.batchnorm import _BatchNorm

from mmnv3.errors import UserError
from mmnv3.search.configs import build, config_network, numbered_blocks, with_spec
from mmnv3.search.netadapt.comparison import uniform
from mmnv3.search.netadapt.proposals import (
    edits,
    proposals,
    removable,
    without_block,
)
from mmnv3.search.netadapt.weights import inherit
from tests.search.netadapt.oracle import madds

CONFIGS = {
    'detection': 'ssdlite_mnv3_small_demo',
    'segmentation': 'lraspp_mnv3_small_camvid',
    'raspp': 'raspp_mnv3_large_cityscapes',
    'classification': 'mnv3_small_imagenet',
    'mnasnet': 'ssdlite_mnasnet_a1_coco',
}


@pytest.fixture(scope='module', params=CONFIGS)
def task(request, read) -> tuple[Config, torch.nn.Module]:
    config = read(CONFIGS[request.param])
    torch.manual_seed(0)
    with warnings.catch_warnings():
        warnings.simplefilter('ignore')
        model = build(config)
    for module in model.modules():
        if isinstance(module, _BatchNorm):
            torch.nn.init.uniform_(module.weight, 0.5, 1.5)
            torch.nn.init.uniform_(module.running_mean, -0.2, 0.2)
            torch.nn.init.uniform_(module.running_var, 0.5, 1.5)
    return config, model


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
    config, model = task
    network = config_network(config)
    state = inherit(config, model.state_dict(), network, network)
    assert all(torch.equal(state[k], v) for k, v in model.state_dict().items())
    pairs = zip(outputs(model), outputs(load(with_spec(config, network.spec), state)))
    assert all(torch.equal(a, b) for a, b in pairs)


def test_a_cut_of_silent_channels_changes_no_output(task):
    """All that reads or writes a channel follows, in backbone, neck and head."""
    config, model = task
    network = config_network(config)
    # Blocks stay.
    blocks = len(network.spec.blocks)
    found = list(proposals(network, madds, 0.01 * madds(network.spec), blocks))
    # One of each kind; those that feed a tap among them.
    for proposal in {p.name.split()[1]: p for p in found}.values():
        state = {k: v.clone() for k, v in model.state_dict().items()}
        silence(state, network, proposal.network)
        full = load(with_spec(config, network.spec), state)
        small = inherit(config, state, network, proposal.network)
        cut = load(with_spec(config, proposal.network.spec), small)
        compared = 0
        for a, b in zip(outputs(full), outputs(cut)):
            if a.shape == b.shape:
                compared += 1
                torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-4)
        assert compared


def test_a_block_that_adds_nothing_can_be_left_out(task):
    config, model = task
    network = config_network(config)
    numbers = removable(network, numbered_blocks(config))
    assert numbers
    for number in numbers[:1] + numbers[-1:]:
        state = {k: v.clone() for k, v in model.state_dict().items()}
        for name in ('weight', 'bias'):
            state[f'backbone.block{number}.project.bn.{name}'].zero_()
        full = load(config, state)
        new = without_block(network, number)
        assert len(new.spec.blocks) == len(network.spec.blocks) - 1
        shorter = inherit(config, state, network, new)
        cut = load(with_spec(config, new.spec), shorter)
        pairs = list(zip(outputs(full), outputs(cut), strict=True))
        assert pairs and all(torch.equal(a, b) for a, b in pairs)


def test_two_blocks_at_once_are_refused(task):
    config, model = task
    network = config_network(config)
    new = network
    for _ in range(2):
        new = without_block(new, removable(new)[-1])
    with pytest.raises(UserError, match='narrower networks, or without one block'):
        inherit(config, model.state_dict(), network, new)


def silence(state, old, new) -> None:
    """Makes the channels that will go silent: a filter of zeros and no offset."""
    for before, after in zip(old.plans(), new.plans()):
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
    _silence(state, 'backbone.stem', new.spec.stem.out)


def _silence(state, key, width) -> None:
    state[f'{key}.conv.weight'][width:] = 0
    for name in ('weight', 'bias', 'running_mean'):
        state[f'{key}.bn.{name}'][width:] = 0


def test_the_largest_filters_stay(task):
    config, model = task
    network, state = config_network(config), dict(model.state_dict())
    edit = next(e for e in edits(network) if e.kind == 'expand')
    key = f'backbone.block{edit.layers[0]}.expand.conv.weight'
    width = edit.width - 8
    weights = torch.ones_like(state[key])
    weights[3:11] = 0.5
    state[key] = weights
    cut = inherit(config, state, network, edit.apply(network, width))
    bias = key.replace('conv.weight', 'bn.bias')
    order = [*range(3), *range(11, edit.width)]
    assert torch.equal(cut[bias], state[bias][order])


def test_a_multiplier_inherits_by_the_same_rule(task):
    config, model = task
    network = config_network(config)
    scaled = uniform(network, 0.75)
    state = inherit(config, model.state_dict(), network, scaled)
    found = outputs(load(with_spec(config, scaled.spec), state))
    assert all(x.isfinite().all() for x in found)


def test_wider_networks_are_refused(task):
    config, model = task
    network = config_network(config)
    narrow = uniform(network, 0.5)
    state = inherit(config, model.state_dict(), network, narrow)
    with pytest.raises(UserError, match='narrower networks only'):
        inherit(config, state, narrow, network)
