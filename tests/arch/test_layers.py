import math

import pytest
import torch
from torch import nn

from mmnv3.arch import ZOO, Network, list_layers
from mmnv3.benchmark.counts import ShapesOnly
from mmnv3.models import MobileNetV3
from mmnv3.size import Size

BUILT = [
    (name, stride, dilation)
    for name in ZOO
    for stride in (32, 16, 8)
    for dilation in ('tensorflow', 'torchvision')
]


@pytest.mark.parametrize('name, output_stride, dilation', BUILT)
def test_layers_are_those_that_the_backbone_builds(name, output_stride, dilation):
    size = Size(97, 65)
    with torch.device('meta'):
        backbone = MobileNetV3(name, output_stride=output_stride, dilation=dilation)
    inputs = {}
    for path, module in backbone.named_modules():
        if isinstance(module, nn.Conv2d):
            module.register_forward_pre_hook(
                lambda _, args, path=path: inputs.update({path: args[0].shape})
            )
    # With gradients, since without them our layers fold normalisation away.
    with ShapesOnly():
        backbone.eval()(torch.empty(1, 3, size.height, size.width, device='meta'))
    network = Network(ZOO[name], output_stride, dilation)
    wanted = {}
    for layer in list_layers(network, size):
        for path, (channels, out) in layer.weights().items():
            squeezed = '.se.' in path
            wanted[path] = (
                out,
                channels,
                (1, 1) if squeezed else (layer.height, layer.width),
                1 if squeezed else layer.stride,
                layer.dilation,
            )
    found = {}
    for path, shape in inputs.items():
        conv = backbone.get_submodule(path)
        same = type(conv) is not nn.Conv2d
        rows, columns = shape[-2:]
        found[path.removesuffix('.conv')] = (
            *conv.weight.shape[:2],
            (rows, columns),
            conv.stride[0],
            conv.dilation[0],
        )
        assert same == (conv.stride[0] > 1)
    assert found == wanted
    assert list(found) == list(wanted)


def test_a_classifiers_layers_have_the_multiply_adds_of_the_paper():
    layers = list_layers(Network(ZOO['large']), Size(224, 224), 1000)
    # Table 3: 219 M.
    assert math.isclose(sum(layer.madds for layer in layers) / 1e6, 219, rel_tol=0.015)
