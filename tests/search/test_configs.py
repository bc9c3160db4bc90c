"""Other networks in configs, and the configs of short trainings."""

import random

import pytest
from mmengine.config import Config

from mmnv3.engine.config import read_config
from mmnv3.errors import UserError
from mmnv3.search.configs import (
    Budget,
    build_shapes,
    config_network,
    dataset_length,
    held_out_indices,
    numbered_blocks,
    short_config,
    with_sampled_spec,
    with_spec,
)
from mmnv3.search.nas.space import get_space
from mmnv3.search.netadapt.comparison import uniform
from tests.conftest import ROOT

TAILS = {
    'ssdlite_mnv3_small_demo': 'detection',
    'lraspp_mnv3_small_demo': 'segmentation',
    'mnv3_small_imagenet': None,
}


def test_the_network_of_a_config_knows_how_it_is_built(read):
    network = config_network(read('lraspp_mnv3_large_cityscapes_tv'))
    assert (network.output_stride, network.dilation) == (16, 'torchvision')
    assert network.padding == 'symmetric'
    assert config_network(read('ssdlite_mnv3_small_demo')).output_stride == 32


@pytest.mark.parametrize(
    'name',
    [
        'ssdlite_mnv3_small_demo',
        'ssdlite_mnasnet_a1_coco',
        'lraspp_mnv3_small_camvid',
        'raspp_mnv3_large_cityscapes',
        'mnv3_small_imagenet',
    ],
)
def test_neck_and_head_follow(name, read):
    config = read(name)
    scaled = with_spec(config, uniform(config_network(config), 0.5).spec)
    channels = build_shapes(scaled).backbone.out_channels
    model = scaled.model
    if 'bbox_head' in model:
        assert tuple(model.neck.in_channels) == channels
        assert tuple(model.bbox_head.in_channels[:2]) == channels
        assert model.bbox_head.in_channels[2:] == config.model.bbox_head.in_channels[2:]
    elif 'head' in model:
        assert model.head.in_channels == channels[-1]
    else:
        width = model.decode_head.in_channels
        assert (width if isinstance(width, tuple) else (width,)) == channels


def test_a_pretrained_file_is_another_network_s():
    config = read_config(f'{ROOT}/configs/ssdlite_mnv3_small_demo.py')
    config.model.backbone.init_cfg = dict(type='Pretrained', checkpoint='x')
    spec = config_network(config).spec
    assert with_spec(config, spec).model.backbone.init_cfg is None


def test_foreign_backbones_are_refused():
    foreign = Config(
        dict(model=dict(backbone=dict(type='ResNet')), default_scope='mmdet')
    )
    with pytest.raises(UserError, match=r'mmnv3\.MobileNetV3'):
        config_network(foreign)


@pytest.mark.parametrize('name', TAILS)
def test_any_sampled_network_fits_a_config(name, read):
    config, space = read(name), get_space('small', TAILS[name])
    rng = random.Random(0)
    for _ in range(5):
        build_shapes(with_sampled_spec(config, space.decode(space.random(rng))))


@pytest.mark.parametrize(
    ('op', 'layers', 'tap'),
    [
        ('bottleneck6', 0, 'block3.depthwise'),
        ('separable', 1, 'block5.depthwise'),
        ('conv', 0, 'block3'),
    ],
)
def test_segmentation_taps_the_last_block_at_stride_8(op, layers, tap, read):
    space = get_space('small', 'segmentation')
    tokens = space.uniform(
        op=op, kernel=3, se=0.0, residual=True, filters=1.0, layers=layers
    )
    config = with_sampled_spec(read('lraspp_mnv3_small_demo'), space.decode(tokens))
    assert tuple(config.model.backbone.out_taps) == (tap, 'C5')


def test_taps_by_index_are_refused():
    config = read_config(f'{ROOT}/configs/ssdlite_mnv3_small_demo.py')
    config.model.backbone.out_indices = (3, 5)
    config.model.backbone.pop('out_taps')
    spec = get_space('small').decode((0,) * 30)
    with pytest.raises(UserError, match=r'out_indices=\(3, 5\) counts .*; name'):
        with_sampled_spec(config, spec)


def test_blocks_that_a_config_knows_by_number(read):
    assert numbered_blocks(read('ssdlite_mnv3_small_demo')) == 0
    segmentation = read_config(f'{ROOT}/configs/lraspp_mnv3_small_camvid.py')
    assert numbered_blocks(segmentation) == 3
    segmentation.model.backbone.frozen_stages = 5
    assert numbered_blocks(segmentation) == 5
    segmentation.model.backbone.update(out_taps=None, out_indices=(2, 8))
    assert numbered_blocks(segmentation) == 11


def test_the_held_out_pictures_are_of_the_training_set_and_not_trained_on(tiny_config):
    count = dataset_length(tiny_config)
    short = short_config(tiny_config, Budget(4, held_out=0.25), 'nowhere')
    train, held = short.train_dataloader.dataset, short.val_dataloader.dataset
    assert sorted([*train.indices, *held.indices]) == list(range(count))
    assert len(held.indices) == round(count / 4)
    for name in ('data_root', 'ann_file', 'data_prefix', 'filter_cfg', 'type'):
        assert train.get(name) == held.get(name)
    assert (
        held.pipeline[-1].type == tiny_config.val_dataloader.dataset.pipeline[-1].type
    )
    assert 'ann_file' not in short.val_evaluator
    everything = short_config(tiny_config, Budget(4, held_out=0), 'nowhere')
    assert everything.val_dataloader == tiny_config.val_dataloader


def test_held_out_indices_are_a_seeded_fraction():
    chosen = held_out_indices(100, 0.2, seed=1)
    assert chosen == held_out_indices(100, 0.2, seed=1) != held_out_indices(100, 0.2)
    assert len(set(chosen)) == 20 and max(chosen) < 100
    for fraction in (0.001, 0.999):
        with pytest.raises(UserError, match='leaves some to train on'):
            held_out_indices(100, fraction)


def schedule(name: str, iterations: int, monkeypatch, **budget) -> Config:
    monkeypatch.setattr('mmnv3.search.configs._count_samples', lambda *_: 1280)
    config = read_config(f'{ROOT}/configs/{name}.py')
    return short_config(config, Budget(iterations, **budget), 'nowhere')


def test_schedules_are_compressed(monkeypatch):
    # 100 of 3000 iterations warm up, the others are a cosine.
    short = schedule('ssdlite_mnv3_small_bccd', 300, monkeypatch, rate=0.1)
    warm, cosine = short.param_scheduler
    assert (warm['begin'], warm['end']) == (0, 10)
    assert (cosine['begin'], cosine['end'], cosine['T_max']) == (10, 300, 290)
    assert short.optim_wrapper.optimizer.lr == pytest.approx(0.005)
    assert short.train_cfg == dict(
        type='IterBasedTrainLoop', max_iters=300, val_interval=300
    )
    assert short.default_hooks.checkpoint is None
    # So short that no warm-up is left.
    short = schedule('ssdlite_mnv3_small_bccd', 10, monkeypatch)
    assert [s['type'] for s in short.param_scheduler] == ['CosineAnnealingLR']
    # 1000 epochs of 10 iterations become 500 iterations.
    short = schedule('mnv3_small_imagenet', 500, monkeypatch)
    warm, steps = short.param_scheduler
    assert (warm['end'], warm['by_epoch']) == (2, False)
    assert (steps['step_size'], steps['by_epoch']) == (2, False)
    assert not [h for h in short.custom_hooks if 'EMA' in h['type']]
    assert short.train_dataloader.sampler['type'] == 'InfiniteSampler'


def test_impossible_budgets():
    for wrong in (
        dict(iterations=-1),
        dict(iterations=1, rate=0),
        dict(iterations=1, held_out=1),
    ):
        with pytest.raises(UserError, match='is impossible; possible'):
            Budget(**wrong)
