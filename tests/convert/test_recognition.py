"""What is known of a network without building it."""

import pytest
import torch

from mmnv3.arch import ZOO, follow_backbone
from mmnv3.convert.formats import OURS
from mmnv3.convert.recognition import _backbone_shapes, recognise
from mmnv3.models import MobileNetV3, MobileNetV3ClsHead


@pytest.mark.parametrize('arch', ZOO)
def test_shapes_are_those_of_the_built_backbone(arch: str) -> None:
    with torch.device('meta'):
        state = MobileNetV3(arch).state_dict()
    assert dict(_backbone_shapes(ZOO[arch])) == {
        f'backbone.{key}': value.shape for key, value in state.items()
    }


@pytest.mark.parametrize('arch', ZOO)
def test_our_own_classifiers_are_known(arch: str) -> None:
    """Those without a hidden layer were missing it."""
    head = follow_backbone(
        dict(
            backbone=dict(arch=arch),
            head=dict(type='MobileNetV3ClsHead', num_classes=7),
        )
    )['head']
    head.pop('type')
    with torch.device('meta'):
        net = torch.nn.ModuleDict(
            dict(backbone=MobileNetV3(arch), head=MobileNetV3ClsHead(**head))
        )
    found, _ = recognise(net.state_dict(), OURS)
    assert str(found) == f'mmnv3 classification: {arch} at width 1, 7 classes'
