"""Every rule by which a network is cut, on the tables alone."""

import pytest

from mmnv3.arch import ZOO, NetSpec, get_spec
from mmnv3.search.netadapt.multipliers import (
    closest_multiplier,
    near_multipliers,
    uniform,
)
from mmnv3.search.netadapt.proposals import (
    Edit,
    Rules,
    edits,
    groups,
    narrowest,
    proposals,
)
from tests.search.netadapt.oracle import madds

NETS = [
    ('small', None, Rules()),
    ('small', 'detection', Rules()),
    ('small', 'segmentation', Rules(output_stride=16)),
    ('large', 'detection', Rules()),
    ('v2', None, Rules()),
    ('mnasnet_a1', None, Rules()),
    ('edgetpu', None, Rules()),
    ('v1', None, Rules()),
]


def structure(spec: NetSpec, rules: Rules) -> list:
    return [
        (
            plan.has_expand,
            plan.residual,
            plan.stride,
            plan.dilation,
            bool(plan.se_hidden),
        )
        for plan in rules.plan(spec)
    ]


@pytest.mark.parametrize(('arch', 'tail', 'rules'), NETS)
def test_proposals_keep_multiples_of_8_layers_and_residuals(arch, tail, rules):
    spec = get_spec(arch, tail=tail)
    cut = 0.01 * madds(spec)
    found = list(proposals(spec, madds, cut, rules))
    assert found
    for proposal in found:
        assert structure(proposal.spec, rules) == structure(spec, rules)
        assert proposal.latency == madds(proposal.spec) <= madds(spec) - cut
        changed = [
            (old, new)
            for before, after in zip(spec.blocks, proposal.spec.blocks)
            for old, new in ((before.expand, after.expand), (before.out, after.out))
            if old != new
        ]
        assert changed and all(new < old and new % 8 == 0 for old, new in changed)
        assert proposal.spec.last == spec.last and proposal.spec.head == spec.head


def test_a_proposal_cuts_no_more_than_it_has_to():
    spec = get_spec('small')
    cut = 0.02 * madds(spec)
    for edit in edits(spec):
        for proposal in proposals(spec, madds, cut):
            if proposal.name.startswith(f'{edit} '):
                width = int(proposal.name.split()[-1])
                wider = edit.apply(spec, width + 8)
                assert width + 8 == edit.width or madds(wider) > madds(spec) - cut


def test_an_expansion_is_shrunk_alone_and_a_bottleneck_with_all_that_share_it():
    spec = get_spec('small')
    assert groups(spec) == [(0,), (1,), (2, 3), (4, 5, 6), (7, 8), (9, 10, 11)]
    by_name = {p.name.rsplit(' ', 3)[0]: p.spec for p in proposals(spec, madds, 1e5)}
    expand = by_name['block5 expand']
    assert [a == b for a, b in zip(spec.blocks, expand.blocks)].count(False) == 1
    shared = by_name['block4–block6 bottleneck']
    assert {block.out for block in shared.blocks[3:6]} == {32}
    # Expansions stay absolute numbers.
    assert [b.expand for b in shared.blocks] == [b.expand for b in spec.blocks]


def test_the_stem_shrinks_where_a_residual_adds_it_and_the_depthwise_follows():
    spec = get_spec('large')
    assert groups(spec)[0] == (0, 1)
    cut = Edit('bottleneck', (0, 1), 16).apply(spec, 8)
    assert (cut.stem.out, cut.blocks[0].expand, cut.blocks[0].out) == (8, 8, 8)
    assert cut.blocks[1] == spec.blocks[1]


def test_a_residual_of_the_rewritten_stride_joins_widths():
    spec = get_spec('small', tail='segmentation')
    assert groups(spec, Rules(32))[-2:] == [(7, 8), (9, 10, 11)]
    assert groups(spec, Rules(16))[-1] == (7, 8, 9, 10, 11)
    assert groups(spec, Rules(16, 'torchvision'))[-2:] == [(7, 8), (9, 10, 11)]


def test_squeeze_and_excite_follows_its_rule():
    spec = get_spec('small')
    cut = Edit('expand', (5,), 240).apply(spec, 120)
    assert [plan.se_hidden for plan in Rules().plan(cut)][4] == 32
    assert [plan.se_hidden for plan in Rules().plan(spec)][4] == 64
    mnas = get_spec('mnasnet_a1')
    narrow = Edit('bottleneck', (4, 5, 6), 40).apply(mnas, 32)
    assert [plan.se_hidden for plan in Rules().plan(narrow)][4] == 8


@pytest.mark.parametrize('arch', ['small', 'large', 'v2', 'mnasnet_a1'])
def test_when_nothing_more_can_be_shrunk_there_is_no_proposal(arch):
    least = narrowest(ZOO[arch])
    assert structure(least, Rules()) == structure(ZOO[arch], Rules())
    assert list(proposals(least, madds, 1)) == []


def test_uniform_multipliers_keep_the_residuals_of_the_seed():
    spec = get_spec('small')
    for width in (0.35, 0.5, 0.74):
        scaled = uniform(spec, width)
        pairs = zip(Rules().plan(spec), Rules().plan(scaled))
        assert all(a.residual or not b.residual for a, b in pairs)
    target = 0.7 * madds(spec)
    width = closest_multiplier(spec, madds, target)
    error = abs(madds(uniform(spec, width)) - target)
    for percent in range(30, 100):
        assert abs(madds(uniform(spec, percent / 100)) - target) >= error
    assert closest_multiplier(spec, madds, madds(spec)) == 1
    assert closest_multiplier(spec, madds, 1) is None


def test_near_multipliers_are_other_networks_each():
    spec = get_spec('small')
    widths = near_multipliers(spec, 0.6, 5)
    assert widths[0] == 0.6 and len(widths) == 5
    everything = near_multipliers(spec, 1.0, 1000)
    assert everything[0] == 1.0 and min(everything) < 0.3
    networks = [uniform(spec, width) for width in everything]
    assert len({(net.stem, net.blocks, net.last) for net in networks}) == len(networks)
    assert len(networks) < 75
