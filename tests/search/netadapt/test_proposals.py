"""Every rule by which a network is cut, on the tables alone."""

import pytest

from mmnv3.arch import ZOO, Network, get_spec
from mmnv3.search.netadapt.proposals import (
    Edit,
    edits,
    groups,
    narrowest,
    proposals,
    removable,
)
from tests.search.netadapt.oracle import block_madds, madds

NETS = [
    ('small', None, 32),
    ('small', 'detection', 32),
    ('small', 'segmentation', 16),
    ('large', 'detection', 32),
    ('v2', None, 32),
    ('mnasnet_a1', None, 32),
    ('edgetpu', None, 32),
    ('v1', None, 32),
]


def structure(network: Network) -> list:
    return [
        (
            plan.has_expand,
            plan.residual,
            plan.stride,
            plan.dilation,
            bool(plan.se_hidden),
        )
        for plan in network.plans()
    ]


@pytest.mark.parametrize(('arch', 'tail', 'output_stride'), NETS)
def test_proposals_keep_multiples_of_8_layers_and_residuals(arch, tail, output_stride):
    network = Network(get_spec(arch, tail=tail), output_stride)
    spec = network.spec
    cut = 0.01 * madds(spec)
    found = list(proposals(network, madds, cut, numbered=len(spec.blocks)))
    assert found
    for proposal in found:
        new = proposal.network
        assert structure(new) == structure(network)
        assert proposal.latency_us == madds(new.spec) <= madds(spec) - cut
        changed = [
            (old, new)
            for before, after in zip(spec.blocks, new.spec.blocks)
            for old, new in ((before.expand, after.expand), (before.out, after.out))
            if old != new
        ]
        assert changed and all(new < old and new % 8 == 0 for old, new in changed)
        assert new.spec.last == spec.last and new.spec.head == spec.head


def test_a_proposal_cuts_no_more_than_it_has_to():
    network = Network(get_spec('small'))
    limit = 0.98 * madds(network.spec)
    for edit in edits(network):
        for proposal in proposals(network, madds, 0.02 * madds(network.spec)):
            if proposal.name.startswith(f'{edit} '):
                width = int(proposal.name.split()[-1])
                wider = edit.apply(network, width + 8)
                assert width + 8 == edit.width or madds(wider.spec) > limit


def test_an_expansion_is_shrunk_alone_and_a_bottleneck_with_all_that_share_it():
    network = Network(get_spec('small'))
    blocks = network.spec.blocks
    assert groups(network) == [(0,), (1,), (2, 3), (4, 5, 6), (7, 8), (9, 10, 11)]
    by_name = {
        p.name.rsplit(' ', 3)[0]: p.network.spec for p in proposals(network, madds, 1e5)
    }
    expand = by_name['block5 expand']
    assert [a == b for a, b in zip(blocks, expand.blocks)].count(False) == 1
    shared = by_name['block4–block6 bottleneck']
    assert {block.out for block in shared.blocks[3:6]} == {32}
    # Expansions stay absolute numbers.
    assert [b.expand for b in shared.blocks] == [b.expand for b in blocks]


def test_the_stem_shrinks_where_a_residual_adds_it_and_the_depthwise_follows():
    network = Network(get_spec('large'))
    assert groups(network)[0] == (0, 1)
    cut = Edit('bottleneck', (0, 1), 16).apply(network, 8).spec
    assert (cut.stem.out, cut.blocks[0].expand, cut.blocks[0].out) == (8, 8, 8)
    assert cut.blocks[1] == network.spec.blocks[1]


def test_a_residual_of_the_rewritten_stride_joins_widths():
    spec = get_spec('small', tail='segmentation')
    assert groups(Network(spec))[-2:] == [(7, 8), (9, 10, 11)]
    assert groups(Network(spec, 16))[-1] == (7, 8, 9, 10, 11)
    assert groups(Network(spec, 16, 'torchvision'))[-2:] == [(7, 8), (9, 10, 11)]


def test_squeeze_and_excite_follows_its_rule():
    network = Network(get_spec('small'))
    cut = Edit('expand', (5,), 240).apply(network, 120)
    assert [plan.se_hidden for plan in cut.plans()][4] == 32
    assert [plan.se_hidden for plan in network.plans()][4] == 64
    mnas = Network(get_spec('mnasnet_a1'))
    narrow = Edit('bottleneck', (4, 5, 6), 40).apply(mnas, 32)
    assert [plan.se_hidden for plan in narrow.plans()][4] == 8


def test_blocks_that_add_to_their_input_can_be_left_out():
    network = Network(get_spec('small'))
    blocks = network.spec.blocks
    # Of the equal 5 and 6, and 10 and 11, the last one.
    assert removable(network) == [3, 6, 8, 11]
    assert removable(network, numbered=6) == [8, 11]
    assert removable(Network(get_spec('v1'))) == []
    found = {
        p.name: p for p in proposals(network, madds, 0.01 * madds(network.spec), 3)
    }
    assert [name for name in found if name.endswith('removed')] == [
        'block6 removed',
        'block8 removed',
        'block11 removed',
    ]
    shorter = found['block8 removed']
    assert shorter.network.spec.blocks == (*blocks[:7], *blocks[8:])
    assert shorter.latency_us == madds(network.spec) - block_madds(network.spec)[8]
    # One that saves less than a step has to is no proposal.
    assert not any(
        p.name == 'block3 removed'
        for p in proposals(network, madds, 2 * block_madds(network.spec)[3])
    )
    least = narrowest(network, numbered=3)
    assert len(least.spec.blocks) == 6 and removable(least, 3) == []


@pytest.mark.parametrize('arch', ['small', 'large', 'v2', 'mnasnet_a1'])
def test_when_nothing_more_can_be_shrunk_there_is_no_proposal(arch):
    least = narrowest(Network(ZOO[arch]))
    assert structure(least) == structure(Network(ZOO[arch]))
    assert list(proposals(least, madds, 1, numbered=len(least.spec.blocks))) == []
