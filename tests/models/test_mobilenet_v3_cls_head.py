"""The efficient last stage, and the classification configs."""

from pathlib import Path

import pytest
import torch
from mmengine.config import Config
from mmengine.optim import build_optim_wrapper
from mmengine.registry import METRICS, DefaultScope
from mmpretrain.structures import DataSample
from torch import nn

from mmnv3.benchmark import count
from mmnv3.errors import UserError
from mmnv3.models import MobileNetV3, MobileNetV3ClsHead
from mmnv3.registry import MODELS

CONFIGS = Path(__file__).parents[2] / 'configs'
# Millions of parameters at 1000 classes, paper.md 1.1, 1.2, 1.5 and 1.6.
PARAMS = {
    'mnv3_large_imagenet': '5.483', 'mnv3_small_imagenet': '2.543',
    'mnv3_large_075_imagenet': '3.994', 'mnv3_small_075_imagenet': '2.042',
    'mnv3_large_minimalistic_imagenet': '3.924',
    'mnv3_small_minimalistic_imagenet': '2.045', 'mnv3_edgetpu_imagenet': '4.091',
    'mnv3_large_imagenet_tv': '5.483', 'mnv3_small_imagenet_tv': '2.543',
}  # fmt: skip


def build(name: str) -> nn.Module:
    with DefaultScope.overwrite_default_scope('mmpretrain'):
        return MODELS.build(Config.fromfile(CONFIGS / f'{name}.py').model)


@pytest.mark.parametrize('name', PARAMS)
def test_configs_build_the_papers_classifiers(name: str) -> None:
    classifier = build(name)
    params = sum(p.numel() for p in classifier.parameters())
    assert f'{params / 1e6:.3f}' == PARAMS[name]
    with torch.no_grad():
        assert classifier.eval()(torch.randn(2, 3, 64, 64)).shape == (2, 1000)


@pytest.mark.parametrize(
    ('options', 'said'),
    [
        (dict(num_classes=0), 'num_classes=0 must be a positive integer'),
        (dict(in_channels=(960,)), r'in_channels=\(960,\) must be'),
        (dict(hidden_channels=-1), 'hidden_channels=-1 must be'),
        (dict(act='gelu'), "act='gelu' is unknown; possible: relu, relu6, hswish"),
        (dict(dropout_ratio=1.5), r'dropout_ratio=1\.5 must be .* at most 1'),
        (dict(dropout_ratio=None), 'dropout_ratio=None must be'),
    ],
)
def test_what_is_impossible_is_refused(options: dict, said: str) -> None:
    with pytest.raises(UserError, match=said):
        MobileNetV3ClsHead(**options)


def test_every_classification_config_is_tested() -> None:
    assert {path.stem for path in CONFIGS.glob('*_imagenet*.py')} >= set(PARAMS)


def test_other_widths_are_two_settings() -> None:
    config = Config.fromfile(CONFIGS / 'mnv3_large_imagenet.py')
    width = MobileNetV3('large', 0.5).out_channels[0]
    config.merge_from_dict(
        {'model.backbone.width': 0.5, 'model.head.in_channels': width}
    )
    with DefaultScope.overwrite_default_scope('mmpretrain'):
        classifier = MODELS.build(config.model)
    # Table 9: 69 M multiply-adds.
    assert count(classifier).madds / 1e6 == pytest.approx(69, rel=0.01)


def test_dropout_is_before_the_logits_and_only_in_training() -> None:
    torch.manual_seed(0)
    head = MobileNetV3ClsHead(5, 4, 1000, dropout_ratio=0.2)
    assert head.dropout.p == 0.2
    nn.init.constant_(head.fc.weight, 1 / 1000)
    nn.init.zeros_(head.fc.bias)
    nn.init.zeros_(head.hidden.weight)
    nn.init.constant_(head.hidden.bias, 3.0)  # h-swish(3) = 3
    x = (torch.zeros(1, 4),)
    assert head.eval()(x).tolist() == [pytest.approx([3.0] * 5, abs=1e-4)]
    seen = torch.stack([head.train()(x)[0, 0] for _ in range(20)])
    assert seen.std() > 0 and abs(seen.mean() - 3) < 0.1


def test_without_a_hidden_layer_logits_follow_pooling() -> None:
    head = MobileNetV3ClsHead(7, 12, None)
    x = torch.randn(2, 12)
    assert head.pre_logits((x,)) is x and head((x,)).shape == (2, 7)


def test_the_papers_optimiser_is_tensorflows() -> None:
    config = Config.fromfile(CONFIGS / 'mnv3_small_imagenet.py')
    net = nn.Sequential(
        nn.Conv2d(2, 2, 1, bias=False), nn.Conv2d(2, 2, 1, groups=2, bias=False)
    )
    nn.init.constant_(net[0].weight, 0.5)
    nn.init.constant_(net[1].weight, 0.5)
    optimizer = build_optim_wrapper(net, config.optim_wrapper).optimizer
    # TensorFlow: mean square from 1, epsilon under the root, rate inside the momentum.
    expected, square, momentum = 0.5, 1.0, 0.0
    for _ in range(3):
        for parameter in net.parameters():
            parameter.grad = torch.full_like(parameter, 0.3)
        optimizer.step()
        gradient = 0.3 + 1e-5 * expected
        square += (gradient**2 - square) * 0.1
        momentum = 0.9 * momentum + 0.1 * gradient / (square + 0.002) ** 0.5
        expected -= momentum
    assert net[0].weight.flatten()[0].item() == pytest.approx(expected, rel=1e-5)
    # The L2 of 1e-5 is not for depthwise kernels.
    decays = {group['weight_decay'] for group in optimizer.param_groups}
    assert decays == {1e-5, 0.0}


def test_nan_is_no_class() -> None:
    """Wherever the truth lies, a classifier of NaN is never right."""
    config = Config.fromfile(CONFIGS / 'mnv3_small_imagenet.py')
    head = MobileNetV3ClsHead(num_classes=10, in_channels=4, hidden_channels=None)
    samples = [DataSample().set_gt_label(label) for label in range(10)]
    found = head.predict((torch.full((10, 4), torch.nan),), samples)
    with DefaultScope.overwrite_default_scope('mmpretrain'):
        metric = METRICS.build(config.val_evaluator)
    metric.process({}, [sample.to_dict() for sample in found])
    assert metric.evaluate(10) == {'accuracy/top1': 0, 'accuracy/top5': 0}
