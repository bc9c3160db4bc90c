"""The kinds of checkpoint that can be read and written, as tables."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from torch import Tensor

from mmnv3.arch import ZOO, NetSpec
from mmnv3.convert import naming
from mmnv3.convert.naming import Part

_V3 = ('large', 'small', 'large_minimalistic', 'small_minimalistic')
# 1.3 and 1.4 are those of the comparators that other projects have trained.
_WIDTHS = (1.0, 0.75, 0.5, 0.35, 1.25, 1.3, 1.4)
_LEVELS = 6


@dataclass(frozen=True)
class CheckpointFormat:
    """What one project's checkpoint of one task looks like.

    Args:
        project: Its name on the command line.
        task: ``'classification'``, ``'detection'``, ``'segmentation'`` or
            ``'backbone'``.
        mark: A key by which such a file is known.
        backbone: Names of the backbone's layers.
        rest: Names of the other layers, in groups that a file holds or lacks as one.
        archs: Networks of the zoo that such a file may hold, and that are tried.
        widths: Their width multipliers.
        tails: Their tails.
        eps: Of the project's batch normalisation.
        padding: Of its strided convolutions.
        gate: Of its networks' squeeze-and-excites.
        layout: Of a detector's anchors. In ``'torchvision'``'s the background is the
            first class; in ``'tensorflow'``'s classes are scored by sigmoids, and the
            background is a class without a meaning.
        ignored: Prefixes of what has no counterpart here.
    """

    project: str
    task: str
    mark: str
    backbone: Callable[[NetSpec], Sequence[Part]]
    rest: tuple[tuple[Part, ...], ...] = ()
    archs: tuple[str, ...] = _V3
    widths: tuple[float, ...] = (1.0,)
    tails: tuple[str | None, ...] = (None,)
    eps: float = 1e-3
    padding: str = 'symmetric'
    gate: str = 'hsigmoid'
    layout: str = 'torchvision'
    ignored: tuple[str, ...] = ()

    def holds(
        self, arch: str | NetSpec, width: float = 1.0, tail: str | None = None
    ) -> bool:
        """Whether such a file may hold a network.

        Args:
            arch: A network of the zoo, or any other, which has no width and tail
                beside it. The others' names tell no fused blocks and no activations
                after projections.
            width: Width multiplier.
            tail: The tail.
        """
        if isinstance(arch, str):
            return arch in self.archs and width in self.widths and tail in self.tails
        return self.project in ('mmnv3', 'tflite') or not any(
            block.fused or block.project_act for block in arch.blocks
        )

    def parts(self, spec: NetSpec, given: Mapping[str, Tensor] | None) -> list[Part]:
        """All layers of a network, or those that a file holds.

        Args:
            spec: The network.
            given: The file's tensors; None for all layers that the format has.
        """
        groups = [
            group
            for group in self.rest
            if given is None or any(f'{part.conv}.weight' in given for part in group)
        ]
        return [*self.backbone(spec), *(part for group in groups for part in group)]


def _prefixed(name: Callable, prefix: str) -> Callable[[NetSpec], list[Part]]:
    return lambda spec: list(name(spec, prefix))


def _classifier(hidden: str, fc: str) -> tuple[tuple[Part, ...], ...]:
    return ((Part('head.hidden', hidden), Part('head.fc', fc)),)


# The names of a foreign layer: of its convolution, and of its normalisation.
_Normed = Callable[[str], tuple[str, str]]


def _detector(
    extra: Callable[[int, int], str],
    head: Callable[[str, int], tuple[str, str]],
    normed: _Normed,
) -> tuple[tuple[Part, ...], ...]:
    """The layers of SSDLite beside its backbone: the extra levels and the heads.

    Args:
        extra: The name of a layer by its level and its place in it, both from 0.
        head: The names of the depthwise layer and of the predictor behind it, by our
            name of the head and its level.
        normed: What a layer with normalisation is made of.
    """
    places = ('0', '1.depthwise_conv', '1.pointwise_conv')
    extras = [
        Part(f'neck.extra_layers.{level}.{ours}', *normed(extra(level, place)))
        for level in range(_LEVELS - 2)
        for place, ours in enumerate(places)
    ]
    heads = [
        part
        for ours in ('cls_convs', 'reg_convs')
        for level in range(_LEVELS)
        for depthwise, predictor in [head(ours, level)]
        for part in (
            Part(f'bbox_head.{ours}.{level}.0', *normed(depthwise)),
            Part(f'bbox_head.{ours}.{level}.1', predictor),
        )
    ]
    return (tuple(extras), tuple(heads))


def _torchvision_detector() -> tuple[tuple[Part, ...], ...]:
    names = dict(cls_convs='classification_head', reg_convs='regression_head')

    def head(ours: str, level: int) -> tuple[str, str]:
        name = f'head.{names[ours]}.module_list.{level}'
        return f'{name}.0', f'{name}.1'

    return _detector(
        lambda level, place: f'backbone.extra.{level}.{place}',
        head,
        lambda name: (f'{name}.0', f'{name}.1'),
    )


def _tensorflow_detector() -> tuple[tuple[Part, ...], ...]:
    names = dict(cls_convs='ClassPredictor', reg_convs='BoxEncodingPredictor')
    places = ('1', '2_depthwise', '2')

    def head(ours: str, level: int) -> tuple[str, str]:
        name = f'BoxPredictor_{level}/{names[ours]}'
        return f'{name}_depthwise', name

    return _detector(
        lambda level, place: (
            f'FeatureExtractor/MobilenetV3/extra_{level + 2}_{places[place]}'
        ),
        head,
        lambda name: (name, f'{name}/BatchNorm'),
    )


def _tflite_detector() -> tuple[tuple[Part, ...], ...]:
    parts = _detector(
        lambda level, place: f'extra.{level}.{place}',
        lambda ours, level: (f'{ours}.{level}.0', f'{ours}.{level}.1'),
        lambda name: (name, name),
    )
    return tuple(
        tuple(Part(part.ours, part.conv, folded=bool(part.norm)) for part in group)
        for group in parts
    )


def _our_detector() -> tuple[tuple[Part, ...], ...]:
    return tuple(
        tuple(
            Part(part.ours, f'{part.ours}.conv', f'{part.ours}.bn')
            if part.norm
            else Part(part.ours, part.ours)
            for part in group
        )
        for group in _torchvision_detector()
    )


# MobileNetV2 and MnasNet have no hidden layer between pooling and classes.
_TORCHVISION_FC = ((Part('head.fc', 'classifier.1'),),)
_TIMM_FC = ((Part('head.fc', 'classifier'),),)
_TORCHVISION_SEGMENTER = (
    (
        Part('decode_head.conv', 'classifier.cbr.0', 'classifier.cbr.1'),
        Part('decode_head.pool_conv', 'classifier.scale.1', bias=False),
        Part('decode_head.conv_seg', 'classifier.high_classifier'),
        Part('decode_head.low_seg', 'classifier.low_classifier'),
    ),
)
_TENSORFLOW_SEGMENTER = (
    (
        Part('decode_head.conv', 'aspp0', 'aspp0/BatchNorm'),
        Part('decode_head.pool_conv', 'image_pooling'),
        Part('decode_head.conv_seg', 'decoder/decoder_conv0'),
        Part('decode_head.low_seg', 'decoder/feature_projection0'),
    ),
)
_OUR_SEGMENTER = (
    (
        Part('decode_head.conv', 'decode_head.conv.conv', 'decode_head.conv.bn'),
        *(
            Part(f'decode_head.{name}', f'decode_head.{name}')
            for name in ('pool_conv', 'conv_seg', 'low_seg')
        ),
    ),
)
OURS = (
    CheckpointFormat(
        'mmnv3', 'detection', 'bbox_head.cls_convs.0.1.weight',
        _prefixed(naming.ours, 'backbone.'), _our_detector(),
        widths=_WIDTHS, tails=('detection', None),
    ),
    CheckpointFormat(
        'mmnv3', 'detection', 'bbox_head.cls_convs.0.1.weight',
        _prefixed(naming.ours, 'backbone.'), _our_detector(),
        widths=_WIDTHS, tails=('detection', None), layout='tensorflow',
    ),
    CheckpointFormat(
        'mmnv3', 'segmentation', 'decode_head.low_seg.weight',
        _prefixed(naming.ours, 'backbone.'), _OUR_SEGMENTER,
        archs=('large', 'small', 'v2'), widths=_WIDTHS, tails=('segmentation', None),
    ),
    CheckpointFormat(
        'mmnv3', 'classification', 'backbone.stem.conv.weight',
        _prefixed(naming.ours, 'backbone.'), _classifier('head.hidden', 'head.fc'),
        archs=tuple(ZOO), widths=_WIDTHS,
    ),
)  # fmt: skip

FORMATS = (
    CheckpointFormat(
        'torchvision', 'classification', 'features.0.0.weight',
        _prefixed(naming.torchvision, 'features.'),
        _classifier('classifier.0', 'classifier.3'),
        archs=('large', 'small'),
    ),
    CheckpointFormat(
        'torchvision', 'classification', 'features.0.0.weight',
        _prefixed(naming.torchvision_v2, 'features.'), _TORCHVISION_FC,
        archs=('v2',), widths=_WIDTHS, eps=1e-5,
    ),
    CheckpointFormat(
        'torchvision', 'classification', 'layers.0.weight',
        _prefixed(naming.torchvision_mnasnet, 'layers.'), _TORCHVISION_FC,
        archs=('mnasnet_b1',), widths=_WIDTHS, eps=1e-5,
    ),
    CheckpointFormat(
        'torchvision', 'detection', 'backbone.features.0.0.0.weight',
        _prefixed(naming.torchvision_ssdlite, 'backbone.'), _torchvision_detector(),
        archs=('large',), tails=('detection', None),
    ),
    CheckpointFormat(
        'torchvision', 'segmentation', 'backbone.0.0.weight',
        _prefixed(naming.torchvision, 'backbone.'), _TORCHVISION_SEGMENTER,
        archs=('large',),
    ),
    CheckpointFormat(
        'timm', 'classification', 'conv_stem.weight',
        _prefixed(naming.timm, ''), _classifier('conv_head', 'classifier'),
        # Below 0.75 timm keeps the stem's 16 channels.
        widths=(1.0, 0.75, 1.25), eps=1e-5,
    ),
    CheckpointFormat(
        'timm', 'classification', 'conv_stem.weight',
        _prefixed(naming.timm_efficientnet, ''), _TIMM_FC,
        archs=('v2', 'mnasnet_b1'), widths=_WIDTHS, eps=1e-5,
    ),
    CheckpointFormat(
        'timm', 'classification', 'conv_stem.weight',
        _prefixed(naming.timm_efficientnet, ''), _TIMM_FC,
        # Above 1 timm keeps the 1280 channels of the last layer.
        archs=('mnasnet_a1', 'mnasnet_small'),
        widths=tuple(width for width in _WIDTHS if width <= 1), eps=1e-5,
    ),
    # The weights of small_075 are timm's.
    CheckpointFormat(
        'mmpretrain', 'classification', 'backbone.layer0.conv.weight',
        _prefixed(naming.openmmlab, 'backbone.'),
        _classifier('head.layers.0.fc', 'head.layers.1.fc'),
        archs=('small',), widths=(0.75,), eps=1e-5,
    ),
    CheckpointFormat(
        'mmpretrain', 'backbone', 'layer0.conv.weight',
        _prefixed(naming.openmmlab, ''), archs=('small',), widths=(0.75,), eps=1e-5,
    ),
    CheckpointFormat(
        'mmpretrain', 'classification', 'backbone.layer0.conv.weight',
        _prefixed(naming.openmmlab, 'backbone.'),
        _classifier('head.layers.0.fc', 'head.layers.1.fc'),
        archs=('large', 'small'), widths=(1.0, 0.75),
    ),
    CheckpointFormat(
        'mmpretrain', 'backbone', 'layer0.conv.weight',
        _prefixed(naming.openmmlab, ''), archs=('large', 'small'), widths=(1.0, 0.75),
    ),
    CheckpointFormat(
        'mmseg', 'backbone', 'backbone.layer0.conv.weight',
        _prefixed(naming.openmmlab, 'backbone.'), archs=('large', 'small'),
        padding='same', ignored=('decode_head.', 'auxiliary_head.'),
    ),
    CheckpointFormat(
        'mmseg', 'backbone', 'layer0.conv.weight',
        _prefixed(naming.openmmlab, ''), archs=('large', 'small'), padding='same',
    ),
    CheckpointFormat(
        'tensorflow', 'detection', 'FeatureExtractor/MobilenetV3/Conv.weight',
        _prefixed(naming.tensorflow, 'FeatureExtractor/MobilenetV3/'),
        _tensorflow_detector(), widths=_WIDTHS, tails=('detection', None),
        padding='same', gate='hsigmoid_tf', layout='tensorflow',
    ),
    CheckpointFormat(
        'tensorflow', 'segmentation', 'aspp0.weight',
        _prefixed(naming.tensorflow, 'MobilenetV3/'), _TENSORFLOW_SEGMENTER,
        widths=_WIDTHS, tails=('segmentation', None), padding='same',
        gate='hsigmoid_tf',
    ),
    CheckpointFormat(
        'tensorflow', 'classification', 'MobilenetV3/Conv.weight',
        _prefixed(naming.tensorflow, 'MobilenetV3/'),
        _classifier('MobilenetV3/Conv_2', 'MobilenetV3/Logits/Conv2d_1c_1x1'),
        widths=_WIDTHS, padding='same', gate='hsigmoid_tf',
    ),
    CheckpointFormat(
        'tflite', 'classification', '0.weight',
        _prefixed(naming.tflite, ''), widths=_WIDTHS, padding='same',
    ),
    CheckpointFormat(
        'tflite', 'detection', 'extra.0.0.weight',
        _prefixed(naming.tflite_backbone, 'backbone.'), _tflite_detector(),
        widths=_WIDTHS, tails=('detection', None), padding='same',
        gate='hsigmoid_tf', layout='tensorflow',
    ),
)  # fmt: skip

PROJECTS = tuple(dict.fromkeys(form.project for form in FORMATS))
