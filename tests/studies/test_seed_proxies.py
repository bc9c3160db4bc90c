"""What a network of the space takes from a trained seed."""

import pytest
import torch

from mmnv3.engine.build import output_tensors
from mmnv3.engine.config import read_config
from mmnv3.search.configs import build, with_sampled_spec
from mmnv3.search.nas import proxies
from mmnv3.search.nas.space import get_space
from mmnv3.search.trial import Trial
from studies.seed_proxies import inherited, seed_proxies
from tests.conftest import ROOT
from tests.models.parity import shake_norms

SPACE = get_space('v3_small', 'detection')
OWN = dict(op='bottleneck3', kernel=3, se=0.25, residual=True, filters=1.0, layers=0)
TOKENS = SPACE.uniform(**OWN)


@pytest.fixture(scope='module')
def config():
    config = read_config(f'{ROOT}/configs/ssdlite_mnv3_small_demo.py')
    return with_sampled_spec(config, SPACE.decode(TOKENS))


@pytest.fixture(scope='module')
def seed(config):
    model = build(config)
    shake_norms(model)
    return model.eval()


def model_of(config, seed, **values):
    tokens = SPACE.uniform(**{**OWN, **values})
    model = build(with_sampled_spec(config, SPACE.decode(tokens)))
    model.load_state_dict(inherited(config, SPACE, seed.state_dict(), tokens))
    return model.eval()


@torch.no_grad()
@pytest.mark.parametrize(
    'values', [{}, dict(kernel=5), dict(layers=1), dict(kernel=5, layers=1)], ids=str
)
def test_what_is_added_changes_nothing_at_first(config, seed, values):
    picture = torch.randn(1, 3, 96, 96)
    found = model_of(config, seed, **values)(picture, mode='tensor')
    expected = seed(picture, mode='tensor')
    for mine, other in zip(
        output_tensors(found), output_tensors(expected), strict=True
    ):
        torch.testing.assert_close(mine, other, rtol=1e-4, atol=1e-5)


def test_an_absent_gate_is_open(config, seed):
    bare = with_sampled_spec(config, SPACE.decode(SPACE.uniform(**{**OWN, 'se': 0.0})))
    state = inherited(bare, SPACE, build(bare).state_dict(), TOKENS)
    model = build(config)
    model.load_state_dict(state)
    x = torch.randn(1, 48, 4, 4)
    gate = model.backbone.block1.se(x) / x
    assert torch.all(gate > 0.98) and torch.all(gate < 1)


def test_a_narrower_network_takes_the_first_channels_and_the_middle(config, seed):
    theirs = seed.state_dict()['backbone.block5.expand.conv.weight']
    mine = model_of(config, seed, filters=0.75).backbone.block5.expand.conv.weight
    assert mine.shape < theirs.shape
    assert torch.equal(mine, theirs[: mine.shape[0], : mine.shape[1]])
    wide = model_of(config, seed, kernel=5)
    small = inherited(config, SPACE, wide.state_dict(), TOKENS)
    own = seed.state_dict()['backbone.block3.depthwise.conv.weight']
    assert torch.equal(small['backbone.block3.depthwise.conv.weight'], own)


def test_both_are_compared(config, seed, tmp_path, monkeypatch):
    starts = []

    def train(edited, budget, work_dir, state=None):
        starts.append(state)
        return Trial('coco/bbox_mAP', 0.5)

    monkeypatch.setattr(proxies, 'train_and_score', train)
    found = seed_proxies(config, SPACE, seed.state_dict(), tmp_path)
    for evaluate in found.values():
        assert dict(evaluate([TOKENS]))[0].accuracy == 0.5
    inheriting, taught = starts
    assert taught is None
    torch.testing.assert_close(dict(inheriting), dict(seed.state_dict()))
    assert list(found) == [
        "84 iterations from the seed's weights",
        '100 iterations from scratch, taught by the seed',
    ]
    assert (tmp_path / 'teacher/teacher.pth').exists()
