"""The shared weights against those that a network trains on its own."""

import pickle
import random

import pytest
import torch
from mmengine.optim import OptimWrapper
from torch import nn

from mmnv3.engine.checkpoints import read_checkpoint
from mmnv3.errors import UserError
from mmnv3.search.configs import Budget, build, with_sampled_spec
from mmnv3.search.nas import proxies
from mmnv3.search.nas.elastic import ElasticModel, recalibrate, take
from mmnv3.search.nas.proxies import WEIGHTS, ElasticJob, ElasticProxy
from mmnv3.search.nas.space import get_space

SPACE = get_space('v3_small', 'detection')
# By stage: op, kernel, SE, residual, filters, layers. Of (1, 16), (2, 24), (3, 40),
# (2, 48), (3, 48 since it is halved).
TOKENS = (
    *(0, 0, 0, 0, 1, 1),
    *(1, 0, 0, 0, 0, 1),
    *(3, 1, 1, 0, 1, 0),
    *(2, 1, 1, 0, 1, 1),
    *(3, 0, 0, 0, 2, 2),
)


@pytest.fixture(scope='module')
def config(read):
    return read('ssdlite_mnv3_small_demo')


@pytest.fixture(scope='module')
def elastic(config):
    return ElasticModel(config, SPACE)


def test_part_of_a_kernel_is_its_first_channels_and_its_middle():
    shared = torch.arange(3 * 2 * 25).view(3, 2, 5, 5)
    assert take(shared, (2, 1, 3, 3)).equal(shared[:2, :1, 1:4, 1:4])
    assert take(shared, (3, 2, 5, 5)) is shared
    assert take(shared, (3, 2, 1, 1)).flatten().equal(shared[:, :, 2, 2].flatten())
    vector = torch.arange(8)
    assert take(vector, (5,)).equal(vector[:5])


def test_a_network_has_its_share(elastic):
    state, shared = elastic.network(TOKENS).state_dict(), elastic.layers
    # Stage 2 has two blocks, which are the network's fourth and fifth; 18 → 24
    # channels in, since 0.75 · 24 may not lose a tenth.
    block = shared['backbone/stage2/1/expand/conv'].weight
    assert block.shape == (48 * 6, 48, 1, 1)
    assert state['backbone.block5.expand.conv.weight'].equal(block[:240, :40])
    kernel = shared['backbone/stage1/0/depthwise/conv'].weight
    assert kernel.shape[2:] == (5, 5)
    own = state['backbone.block2.depthwise.conv.weight']
    assert own.shape == (48, 1, 3, 3) and own.equal(kernel[:48, :, 1:4, 1:4])
    squeeze = shared['backbone/stage2/0/se/reduce'].weight
    own = state['backbone.block4.se.reduce.weight']
    assert own.equal(squeeze[: len(own), : own.shape[1]])
    assert SPACE.places(TOKENS)[-1] == (4, 3)


def test_blocks_share_with_those_of_their_kind(elastic):
    # C4 is an expansion, which a separable block has not.
    separable = SPACE.uniform(
        op='separable', kernel=3, se=0.25, residual=True, filters=1.0, layers=0
    )
    mixed = (*TOKENS[:-6], *separable[-6:])
    names = {}
    for tokens in (TOKENS, mixed, separable):
        model = elastic.network(tokens)
        layers = [name for name, _ in model.named_modules()]
        names[tokens] = {elastic._layer(layer, tokens, model) for layer in layers}
        heads = [name for name in names[tokens] if name.startswith('bbox_head')]
        first = 'expand' if tokens == TOKENS else 'out'
        assert heads and all(name.endswith(f'/{first}/out') for name in heads)
    stage = 'backbone/stage4/0'
    assert f'{stage}/depthwise/conv' in names[TOKENS]
    for tokens in (mixed, separable):
        assert f'{stage}/separable/depthwise/conv' in names[tokens]
        assert f'{stage}/depthwise/conv' not in names[tokens]
    blocks = [name for name in names[separable] if name.startswith('backbone/stage')]
    assert not names[TOKENS] & {name for name in blocks if '/stage0/' not in name}


@pytest.mark.parametrize('name', ['small', 'v3_large'])
def test_every_network_of_a_space_has_a_share(config, name):
    space, chance = get_space(name), random.Random(1)
    found = ElasticModel(config, space)
    with torch.device('meta'):
        for _ in range(4):
            tokens = space.random(chance)
            model = build(with_sampled_spec(config, space.decode(tokens)))
            found.parameters_of(model, tokens)


def test_a_step_is_that_of_the_networks_themselves(config, monkeypatch):
    elastic = ElasticModel(config, SPACE)
    drawn = [TOKENS, tuple(0 for _ in TOKENS)]
    monkeypatch.setattr(type(SPACE), 'random', lambda *_: drawn[0])
    networks = [elastic.largest, elastic.smallest, TOKENS, TOKENS]
    before = {key: value.clone() for key, value in elastic.state_dict().items()}
    data = _batch()
    expected = {}
    for tokens in networks:
        model = elastic.network(tokens).train()
        losses = model(**model.data_preprocessor(data, True), mode='loss')
        (elastic.parse_losses(losses)[0] / len(networks)).backward()
        for name, parameter in model.named_parameters():
            layer, _, attribute = name.rpartition('.')
            key = f'layers.{elastic._layer(layer, tokens, model)}.{attribute}'
            total = expected.setdefault(key, torch.zeros_like(before[key]))
            take(total, parameter.shape).add_(parameter.grad)
    optimizer = torch.optim.SGD(elastic.parameters(), lr=0.1)
    elastic.train_step(data, OptimWrapper(optimizer))
    after = elastic.state_dict()
    assert after['steps'] == 1
    for key, gradient in expected.items():
        torch.testing.assert_close(after[key], before[key] - 0.1 * gradient)
    untouched = set(dict(elastic.named_parameters())) - set(expected)
    assert all(after[key].equal(before[key]) for key in untouched)


def _batch():
    """Two pictures with a box each, as mmdet's loader gives them."""
    from mmdet.structures import DetDataSample
    from mmengine.structures import InstanceData

    chance = torch.Generator().manual_seed(0)
    samples = []
    for index in range(2):
        sample = DetDataSample(metainfo=dict(img_shape=(320, 320)))
        boxes = torch.tensor([[20.0, 30.0, 220.0, 250.0]]) + index
        labels = torch.tensor([index])
        sample.gt_instances = InstanceData(bboxes=boxes, labels=labels)
        samples.append(sample)
    inputs = [
        torch.randint(0, 256, (3, 320, 320), generator=chance).byte() for _ in samples
    ]
    return dict(inputs=inputs, data_samples=samples)


def test_statistics_are_the_mean_of_the_batches():
    class Model(nn.Module):
        def __init__(self):
            super().__init__()
            self.norm = nn.BatchNorm2d(3, momentum=0.01)
            self.data_preprocessor = lambda batch, training: batch

        def forward(self, inputs, mode):
            assert mode == 'tensor'
            return self.norm(inputs)

    model = Model()
    model.norm.running_mean.fill_(7)
    batches = torch.randn(4, 8, 3, 5, 5) * 3 + 1
    recalibrate(model, [dict(inputs=batch) for batch in batches])
    expected = batches.mean((0, 1, 3, 4)), batches.transpose(1, 2).flatten(2).var(2)
    torch.testing.assert_close(model.norm.running_mean, expected[0])
    torch.testing.assert_close(model.norm.running_var, expected[1].mean(0))
    assert model.norm.momentum == 0.01 and not model.training


@pytest.mark.parametrize(
    'tiny_config',
    # What differs between toolboxes is left to the slow tests.
    [
        'mmdet',
        *(pytest.param(n, marks=pytest.mark.slow) for n in ('mmseg', 'mmpretrain')),
    ],
    indirect=True,
)
def test_a_search_trains_once_and_scores_many(tiny_config, tmp_path, monkeypatch):
    tail = tiny_config.model.backbone.get('tail')
    space = get_space('v3_small', tail)
    proxy = ElasticProxy(tiny_config, space, Budget(2, held_out=0.25), tmp_path)
    built, read = [], []

    def build_elastic(*args):
        built.append(args)
        return ElasticModel(*args)

    def read_weights(path):
        read.append(path)
        return read_checkpoint(path)

    monkeypatch.setattr(proxies, 'ElasticModel', build_elastic)
    monkeypatch.setattr(proxies, 'read_checkpoint', read_weights)
    monkeypatch.setattr(proxies, '_NETWORKS', 1)
    chance = random.Random(0)
    networks = [space.random(chance) for _ in range(2)]
    found = dict(proxy(networks))
    assert sorted(found) == [0, 1]
    assert all(0 <= outcome.accuracy <= 1 for outcome in found.values())
    assert dict(proxy(networks[1:])) == {0: found[1]}
    # One is trained, the other scores whatever comes.
    assert len(built) == 2 and read == [tmp_path / WEIGHTS]
    assert read_checkpoint(tmp_path / WEIGHTS).state['steps'] == 2
    monkeypatch.setattr(proxies, 'train_model', None)
    proxy.train()
    # Another target may have it, another length or space may not.
    longer = ElasticProxy(tiny_config, space, Budget(3, held_out=0.25), tmp_path)
    with pytest.raises(UserError, match=r'another budget\.iterations \(2, now 3\)'):
        longer.train()


def test_jobs_travel_to_other_machines(elastic, tmp_path):
    job = ElasticJob(elastic, (TOKENS,), Budget(0), tmp_path)
    back = pickle.loads(pickle.dumps(job))
    expected = elastic.network(TOKENS).state_dict()
    found = back.elastic.network(TOKENS).state_dict()
    assert all(found[key].equal(value) for key, value in expected.items())


@pytest.mark.slow  # Two trainings by a Runner.
def test_an_interrupted_training_goes_on(tiny_config, tmp_path, monkeypatch):
    space = get_space('v3_small', tiny_config.model.backbone.get('tail'))
    proxy = ElasticProxy(tiny_config, space, Budget(4, held_out=0.25), tmp_path)
    whole, steps = ElasticModel.train_step, []

    def interrupted(self, *args, **kwargs):
        steps.append(int(self.steps))
        if steps == [0, 1, 2]:
            raise KeyboardInterrupt
        return whole(self, *args, **kwargs)

    monkeypatch.setattr(ElasticModel, 'train_step', interrupted)
    with pytest.raises(KeyboardInterrupt):
        proxy.train()
    assert not (tmp_path / WEIGHTS).exists()
    proxy.train()
    assert steps == [0, 1, 2, 2, 3]
    assert read_checkpoint(tmp_path / WEIGHTS).state['steps'] == 4
