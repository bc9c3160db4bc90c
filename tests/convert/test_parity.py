"""Converted weights compute what the original implementation computes with them."""

import copy
import re

import pytest
import timm
import torch
import torchvision
from mmengine.config import Config
from mmengine.registry import DefaultScope
from mmpretrain.models import GlobalAveragePooling, StackedLinearClsHead
from mmpretrain.models import MobileNetV3 as MMPretrainNet
from mmseg.models import MobileNetV3 as MMSegNet
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

from mmnv3.convert import MisfitError, from_ours, guess_project, to_ours
from mmnv3.models import (
    LRASPPHead,
    MobileNetV3,
    MobileNetV3ClsHead,
    SSDLiteHead,
    SSDLiteNeck,
)
from tests.models.parity import shake_norms


def random(net: nn.Module) -> nn.Module:
    """The network in double precision, in eval mode, with statistics that matter."""
    torch.manual_seed(0)
    shake_norms(net)
    net.double().eval()  # mmseg's returns None.
    return net


def close(found: torch.Tensor, expected: torch.Tensor) -> None:
    torch.testing.assert_close(found, expected, atol=1e-8, rtol=1e-6)


class Classifier(nn.Module):
    """Our classifier of a converted checkpoint."""

    def __init__(self, converted, padding: str, eps: float = 1e-3) -> None:
        super().__init__()
        network = converted.network
        spec = network.spec
        self.backbone = MobileNetV3(
            spec, padding=padding, norm_cfg=dict(type='BN', eps=eps)
        )
        self.neck = GlobalAveragePooling()
        act = 'relu' if 'minimalistic' in network.arch else 'hswish'
        self.head = MobileNetV3ClsHead(
            network.num_classes, spec.out_channels, spec.head and spec.head.out, act
        )
        self.load_state_dict(converted.state)
        self.double().eval()

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.head(self.neck(self.backbone(x)))


@torch.no_grad()
def check_round_trip(net: nn.Module, project: str) -> None:
    state = {
        key: value
        for key, value in net.state_dict().items()
        if not key.startswith('data_preprocessor')
    }
    assert guess_project('file.pth', state) == project
    back = from_ours(to_ours(state, project).state, project).state
    assert back.keys() == state.keys()
    assert all(torch.equal(back[key], state[key]) for key in state)


@pytest.mark.parametrize('arch', ['large', 'small'])
def test_torchvision_classifiers(arch: str) -> None:
    theirs = random(torchvision.models.get_model(f'mobilenet_v3_{arch}', weights=None))
    ours = Classifier(to_ours(theirs.state_dict(), 'torchvision'), 'symmetric')
    x = torch.randn(2, 3, 97, 64).double()
    with torch.no_grad():
        close(ours(x), theirs(x))
    check_round_trip(theirs, 'torchvision')


TIMM = [
    'mobilenetv3_large_075', 'mobilenetv3_large_100', 'mobilenetv3_small_075',
    'mobilenetv3_small_100', 'tf_mobilenetv3_large_075', 'tf_mobilenetv3_large_100',
    'tf_mobilenetv3_large_minimal_100', 'tf_mobilenetv3_small_075',
    'tf_mobilenetv3_small_100', 'tf_mobilenetv3_small_minimal_100',
]  # fmt: skip


@pytest.mark.parametrize('name', TIMM)
def test_timm_classifiers(name: str) -> None:
    theirs = random(timm.create_model(name))
    google = name.startswith('tf_')
    ours = Classifier(
        to_ours(theirs.state_dict(), 'timm'),
        'same' if google else 'symmetric',
        1e-3 if google else 1e-5,
    )
    x = torch.randn(2, 3, 96, 64).double()
    with torch.no_grad():
        close(ours(x), theirs(x))
    check_round_trip(theirs, 'timm')


# The paper's comparators: name, and what it is here.
COMPARATORS = [
    ('timm', 'mobilenetv2_035', 'v2 at width 0.35'),
    ('timm', 'mobilenetv2_100', 'v2 at width 1'),
    ('timm', 'mobilenetv2_140', 'v2 at width 1.4'),
    ('timm', 'mnasnet_050', 'mnasnet_b1 at width 0.5'),
    ('timm', 'mnasnet_100', 'mnasnet_b1 at width 1'),
    ('timm', 'mnasnet_140', 'mnasnet_b1 at width 1.4'),
    ('timm', 'semnasnet_075', 'mnasnet_a1 at width 0.75'),
    ('timm', 'semnasnet_100', 'mnasnet_a1 at width 1'),
    ('timm', 'mnasnet_small', 'mnasnet_small at width 1'),
    ('torchvision', 'mobilenet_v2', 'v2 at width 1'),
    ('torchvision', 'mnasnet0_5', 'mnasnet_b1 at width 0.5'),
    ('torchvision', 'mnasnet0_75', 'mnasnet_b1 at width 0.75'),
    ('torchvision', 'mnasnet1_0', 'mnasnet_b1 at width 1'),
    ('torchvision', 'mnasnet1_3', 'mnasnet_b1 at width 1.3'),
]


def comparator(project: str, name: str) -> nn.Module:
    if project == 'timm':
        return timm.create_model(name, num_classes=10)
    return torchvision.models.get_model(name, num_classes=10)


@pytest.mark.parametrize(('project', 'name', 'network'), COMPARATORS)
def test_comparators_are_known(project: str, name: str, network: str) -> None:
    with torch.device('meta'):
        state = comparator(project, name).state_dict()
    assert guess_project('file.pth', state) == project
    converted = to_ours(state, project)
    expected = f'{project} classification: {network}, 10 classes'
    assert str(converted.network) == expected
    assert from_ours(converted.state, project).state.keys() == state.keys()


@pytest.mark.parametrize(
    ('project', 'name'),
    [
        ('timm', 'mobilenetv2_050'),
        ('timm', 'mnasnet_small'),
        ('timm', 'semnasnet_075'),
        ('torchvision', 'mobilenet_v2'),
        ('torchvision', 'mnasnet0_5'),
    ],
)
def test_comparators(project: str, name: str) -> None:
    theirs = random(comparator(project, name))
    converted = to_ours(theirs.state_dict(), project)
    ours = Classifier(converted, 'symmetric', converted.network.form.eps)
    x = torch.randn(2, 3, 65, 64).double()
    with torch.no_grad():
        close(ours(x), theirs(x))
    check_round_trip(theirs, project)


@pytest.mark.parametrize('width', [0.5, 1.4])
def test_torchvisions_widths_of_v2_are_ours(width: float) -> None:
    with torch.device('meta'):
        theirs = torchvision.models.mobilenet_v2(width_mult=width)
    found = to_ours(theirs.state_dict(), 'torchvision').network
    assert (found.arch, found.width) == ('v2', width)


@pytest.mark.parametrize(
    ('name', 'known'),
    [
        # Deeper, and with the first and last layers of width 1.
        ('mobilenetv2_110d', 'v2 at widths 0.35, 0.5, 0.75, 1, 1.25, 1.3, 1.4'),
        # Its last layer stays at 1280 channels, and ours follows the width.
        ('semnasnet_140', 'mnasnet_a1 at widths 0.35, 0.5, 0.75, 1'),
    ],
)
def test_other_widths_are_refused_with_those_that_are_known(
    name: str, known: str
) -> None:
    with torch.device('meta'):
        theirs = timm.create_model(name)
    with pytest.raises(MisfitError) as caught:
        to_ours(theirs.state_dict(), 'timm')
    text = str(caught.value)
    assert f'possible: {known}' in text and '\n' not in text
    assert re.match(r'\d+ (of another shape|missing in the file) \([a-z]', text)
    assert len(text) < 500


class MMPretrainClassifier(nn.Module):
    def __init__(self, arch: str, hidden: int) -> None:
        super().__init__()
        self.backbone = MMPretrainNet(arch)
        self.neck = GlobalAveragePooling()
        channels = {'large': 960, 'small': 576, 'small_075': 432}[arch]
        self.head = StackedLinearClsHead(
            10, channels, [hidden], act_cfg=dict(type='HSwish')
        )

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.head(self.neck(self.backbone(x)))


@pytest.mark.parametrize(
    ('arch', 'hidden'), [('large', 1280), ('small', 1024), ('small_075', 1024)]
)
def test_mmpretrain_classifiers(arch: str, hidden: int) -> None:
    with DefaultScope.overwrite_default_scope('mmpretrain'):
        theirs = random(MMPretrainClassifier(arch, hidden))
    ours = Classifier(to_ours(theirs.state_dict(), 'mmpretrain'), 'symmetric')
    x = torch.randn(2, 3, 97, 64).double()
    with torch.no_grad():
        close(ours(x), theirs(x))
    check_round_trip(theirs, 'mmpretrain')


@pytest.mark.parametrize(
    ('arch', 'taps'), [('large', (1, 3, 16)), ('small', (0, 1, 12))]
)
def test_mmseg_backbones(arch: str, taps: tuple[int, ...]) -> None:
    # The class has PyTorch's eps, and mmseg's configs this one.
    norm_cfg = dict(type='BN', eps=1e-3)
    theirs = random(MMSegNet(arch, out_indices=taps, norm_cfg=norm_cfg))
    whole = {f'backbone.{k}': v for k, v in theirs.state_dict().items()}
    whole['decode_head.conv_seg.weight'] = torch.zeros(19, 128, 1, 1)
    assert guess_project('file.pth', whole) == 'mmseg'
    converted = to_ours(whole, 'mmseg')
    assert converted.left_out == ('decode_head.conv_seg.weight',)
    # It works at stride 8, and dilates from the block that loses its stride.
    ours = MobileNetV3(arch, output_stride=8, dilation='torchvision', out_indices=taps)
    ours.load_state_dict(
        {k.removeprefix('backbone.'): v for k, v in converted.state.items()}
    )
    x = torch.randn(1, 3, 64, 96).double()
    with torch.no_grad():
        for found, expected in zip(ours.double().eval()(x), theirs(x), strict=True):
            close(found, expected)


def test_torchvision_segmenter() -> None:
    theirs = random(
        torchvision.models.segmentation.lraspp_mobilenet_v3_large(
            weights=None, weights_backbone=None
        )
    )
    converted = to_ours(theirs.state_dict(), 'torchvision')
    backbone = MobileNetV3(
        'large', output_stride=16, dilation='torchvision', padding='symmetric',
        out_taps=('block4', 'C5'),
    )  # fmt: skip
    head = LRASPPHead(21, (40, 960), pool='global', align_corners=False)
    ours = nn.ModuleDict(dict(backbone=backbone, decode_head=head))
    ours.load_state_dict(converted.state)
    ours.double().eval()
    x = torch.randn(1, 3, 96, 128).double()
    with torch.no_grad():
        found = head(backbone(x))
        close(
            nn.functional.interpolate(found, x.shape[-2:], mode='bilinear'),
            theirs(x)['out'],
        )


def detector(classes: int) -> nn.ModuleDict:
    config = Config.fromfile('configs/ssdlite_mnv3_large_coco_tv.py').model
    parts = dict(
        backbone=MobileNetV3(
            'large', tail='detection', out_taps=('C4', 'C5'), padding='symmetric'
        ),
        neck=SSDLiteNeck(padding='symmetric'),
        bbox_head=SSDLiteHead(
            classes,
            anchor_generator=config.bbox_head.anchor_generator,
            loss_cls=None,
        ),
    )
    return nn.ModuleDict(parts)


@pytest.mark.parametrize('classes', [90, 80])
def test_torchvision_detector(classes: int) -> None:
    theirs = random(
        torchvision.models.detection.ssdlite320_mobilenet_v3_large(
            weights=None, weights_backbone=None
        )
    )
    converted = to_ours(theirs.state_dict(), 'torchvision', classes)
    assert str(converted.network) == (
        'torchvision detection: large at width 1, detection tail, 91 classes'
    )
    ours = detector(classes)
    ours.load_state_dict(converted.state)
    ours.double().eval()
    x = torch.randn(1, 3, 320, 320).double()
    with torch.no_grad():
        scores, boxes = ours['bbox_head'](ours['neck'](ours['backbone'](x)))
        expected = theirs.head(list(theirs.backbone(x).values()))
    flat = [
        torch.cat([m[0].permute(1, 2, 0).reshape(-1, n) for m in maps])
        for maps, n in ((scores, classes + 1), (boxes, 4))
    ]
    close(flat[1], expected['bbox_regression'][0])
    logits = expected['cls_logits'][0]
    if classes == 90:
        close(flat[0], torch.cat([logits[:, 1:], logits[:, :1]], 1))
        check_round_trip(theirs, 'torchvision')
        return
    # Person, bicycle, ..., toothbrush, and the background; 12 is no class of COCO's.
    close(flat[0][:, [0, 1, 79, 80]], logits[:, [1, 2, 90, 0]])
    close(flat[0][:, 11], logits[:, 13])


def test_widths_that_are_torchvisions_own_are_refused() -> None:
    theirs = torchvision.models.mobilenet_v3_large(weights=None, width_mult=0.75)
    with pytest.raises(Exception, match='nothing was converted'):
        to_ours(theirs.state_dict(), 'torchvision')


def test_normalisation_counts_are_kept_or_start() -> None:
    theirs = torchvision.models.mobilenet_v3_small(weights=None)
    state = copy.deepcopy(theirs.state_dict())
    state['features.0.1.num_batches_tracked'] += 5
    found = to_ours(state, 'torchvision').state
    assert found['backbone.stem.bn.num_batches_tracked'] == 5
    del state['features.0.1.num_batches_tracked']
    found = to_ours(state, 'torchvision').state
    assert found['backbone.stem.bn.num_batches_tracked'] == 0
    assert sum(isinstance(m, _BatchNorm) for m in theirs.modules()) == sum(
        'num_batches' in key for key in found
    )
