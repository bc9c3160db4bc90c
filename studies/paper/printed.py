"""What the paper prints, as data, and why some prints are not what is counted here.

Source: arXiv 1905.02244v5. The reasons rest on its early version (v1) too, on the
MnasNet and MobileNetV2 papers, and on the README of tensorflow/models
``research/slim/nets/mobilenet``, where the published checkpoints stand. What follows
from numbers alone says so.
"""

from __future__ import annotations

from dataclasses import replace

from mmnv3.benchmark import Complexity
from studies.networks import (
    IMAGENET_CLASSES,
    Classifier,
    Detector,
    Network,
    Segmenter,
    cost,
    count_products,
)
from studies.paper.tables import LayerRow, LayerTable, Reason, Row, Table


def _with_early_head(network: Classifier) -> Complexity:
    return cost(replace(network, head=1280))


def _with_last_384(network: Classifier) -> Complexity:
    return cost(replace(network, last=384))


def _without_norm(network: Network) -> Complexity:
    found = cost(network)
    return replace(found, params=found.params - found.norm_params)


def _with_products(network: Network) -> Complexity:
    found = cost(network)
    return replace(found, madds=found.madds + count_products(network))


CUT = Reason('The print is cut after its last digit, not rounded.')
DIGITS = Reason('The print has few digits: ours, rounded to as many, is the same.')

# Classification.
EARLY_HEAD = Reason(
    'Left from the early version of the paper, whose Small network had 1280 channels '
    'after pooling in place of 1024. The figure is with 1280.',
    _with_early_head,
)
EARLY_66 = Reason(
    'Left from the early version of the paper, and inconsistent there: its rows at '
    'other resolutions belong to a network of 57 M.'
)
LAST_384 = Reason(
    "Slim's rule of widths does not give these. All prints of the multipliers "
    '0.5 and 0.35 fit a last 1×1 convolution of 384 channels, where the rule has 480 '
    'and 336; that follows from the numbers, no source says it (and 2.6 may also be '
    '2.69 cut). The figure is with 384.',
    _with_last_384,
)
TABLE_9_HAS_217 = Reason(
    'Table 9 prints 217 M for the same network, which is what it counts.'
)
V2_WITHOUT_NORM = Reason(
    'Counted without batch normalisation and cut after the last digit. The figure is '
    'without.',
    _without_norm,
)
MNASNET_PRINTS_312 = Reason('The MnasNet paper prints 312 M for this network.')
MNASNET_SMALL = Reason(
    'The MnasNet paper has two small networks: one of 65 M MAdds, 1.9 M parameters and '
    '64.9 %, which is this row, and one of 68 M, 2.0 M and 66.0 %. The layers that '
    'were published, and are built here, are those of the second.'
)
SLIM_65 = Reason(
    "slim's README prints 65 M; the network that slim's own table of layers describes "
    'counts what ours does.'
)

# Detection.
V2_PRINTS_ONE_DIGIT = Reason(
    'The row comes from the MobileNetV2 paper, which prints one digit: 0.8.'
)

# Detection and segmentation.
PRODUCTS = Reason(
    'The print seems to count products without weights too: two for every value of '
    'h-swish, one for every value that squeeze-and-excite scales and, in segmentation, '
    'one for every class score that is resized to the picture. That follows from the '
    'numbers, no source says it. The figure is with them.',
    _with_products,
)

# Segmentation.
V2_TAIL = Reason(
    'The paper does not say which filters of the last block are halved in V2. Halving '
    'the outputs, as here, comes nearest to the print; halving the first expansion as '
    'well, as in V3, misses it by more.'
)
V2_TAIL_035 = Reason(
    'Halving before the multiplier applies, as here, makes 32 channels of the 28 that '
    'halving after it would leave. The latter fits the printed parameters, but lies '
    'further from the printed MAdds.'
)

# Table 2.
SE_MISPRINT = Reason(
    'A misprint: no implementation has squeeze-and-excite here, and with it the '
    'network would have 2.7 M parameters in place of 2.5 M.'
)


def _layer_rows(*rows: tuple) -> tuple[LayerRow, ...]:
    return tuple(LayerRow(*row) for row in rows)


def _row_9(network: Classifier, *printed: object, name: str = '') -> Row:
    """A row of Table 9."""
    name = name or f'V3-{network.arch.title()}'
    return Row((name, str(network.side), str(network.width)), network, *printed)


def _row_7(number: str, backbone: str, network: Segmenter, *printed: object) -> Row:
    """A row of Table 7."""
    halved, head = '✓' if network.tail else '–', 'LR' if network.lite else 'R'
    labels = number, backbone, halved, head, str(network.filters)
    return Row(labels, network, *printed)


def _row_8(
    backbone: str, network: Segmenter, measured: tuple[str, ...], madds: str
) -> Row:
    """A row of Table 8; their multiply-adds have one reason, where it is needed."""
    picture = 'half' if network.half else 'full'
    labels = backbone, str(network.output_stride), picture
    return Row(labels, network, measured, '', madds, None, PRODUCTS)


# fmt: off
_ABOUT = (
    'The paper prints the layers and no counts; the counts are ours. Each layer of '
    'the description that the modules are built from is compared with its row. k is '
    '1000 classes.'
)

TABLE_1 = LayerTable(
    'Table 1: MobileNetV3-Large', _ABOUT, Classifier('large'), _layer_rows(
        # side in   operator     exp  out    SE     NL   s
        (224,   3, 'conv 3×3',     0,   16, False, 'HS', 2),
        (112,  16, 'bneck 3×3',   16,   16, False, 'RE', 1),
        (112,  16, 'bneck 3×3',   64,   24, False, 'RE', 2),
        ( 56,  24, 'bneck 3×3',   72,   24, False, 'RE', 1),
        ( 56,  24, 'bneck 5×5',   72,   40, True,  'RE', 2),
        ( 28,  40, 'bneck 5×5',  120,   40, True,  'RE', 1),
        ( 28,  40, 'bneck 5×5',  120,   40, True,  'RE', 1),
        ( 28,  40, 'bneck 3×3',  240,   80, False, 'HS', 2),
        ( 14,  80, 'bneck 3×3',  200,   80, False, 'HS', 1),
        ( 14,  80, 'bneck 3×3',  184,   80, False, 'HS', 1),
        ( 14,  80, 'bneck 3×3',  184,   80, False, 'HS', 1),
        ( 14,  80, 'bneck 3×3',  480,  112, True,  'HS', 1),
        ( 14, 112, 'bneck 3×3',  672,  112, True,  'HS', 1),
        ( 14, 112, 'bneck 5×5',  672,  160, True,  'HS', 2),
        (  7, 160, 'bneck 5×5',  960,  160, True,  'HS', 1),
        (  7, 160, 'bneck 5×5',  960,  160, True,  'HS', 1),
        (  7, 160, 'conv 1×1',     0,  960, False, 'HS', 1),
        (  7, 960, 'pool 7×7',     0,    0, False, '',   1),
        (  1, 960, 'conv 1×1, NBN', 0, 1280, False, 'HS', 1),
        (  1, 1280, 'conv 1×1, NBN', 0, IMAGENET_CLASSES, False, '', 1),
    ),
)

TABLE_2 = LayerTable(
    'Table 2: MobileNetV3-Small', _ABOUT, Classifier('small'), _layer_rows(
        # side in   operator     exp  out    SE     NL   s
        (224,   3, 'conv 3×3',     0,   16, False, 'HS', 2),
        (112,  16, 'bneck 3×3',   16,   16, True,  'RE', 2),
        ( 56,  16, 'bneck 3×3',   72,   24, False, 'RE', 2),
        ( 28,  24, 'bneck 3×3',   88,   24, False, 'RE', 1),
        ( 28,  24, 'bneck 5×5',   96,   40, True,  'HS', 2),
        ( 14,  40, 'bneck 5×5',  240,   40, True,  'HS', 1),
        ( 14,  40, 'bneck 5×5',  240,   40, True,  'HS', 1),
        ( 14,  40, 'bneck 5×5',  120,   48, True,  'HS', 1),
        ( 14,  48, 'bneck 5×5',  144,   48, True,  'HS', 1),
        ( 14,  48, 'bneck 5×5',  288,   96, True,  'HS', 2),
        (  7,  96, 'bneck 5×5',  576,   96, True,  'HS', 1),
        (  7,  96, 'bneck 5×5',  576,   96, True,  'HS', 1),
        (  7,  96, 'conv 1×1',     0,  576, True,  'HS', 1),
        (  7, 576, 'pool 7×7',     0,    0, False, '',   1),
        (  1, 576, 'conv 1×1, NBN', 0, 1024, False, 'HS', 1),
        (  1, 1024, 'conv 1×1, NBN', 0, IMAGENET_CLASSES, False, '', 1),
    ),
    {12: SE_MISPRINT},
)

_PHONES = ('P-1 ms', 'P-2 ms', 'P-3 ms')

TABLE_3 = Table(
    'Table 3: ImageNet, floating point',
    'Pictures of 224 pixels. P-n is one large core of a Pixel n.',
    ('network',), ('top-1 %', *_PHONES), (
        Row(('V3-Large 1.0',), Classifier('large'),
            ('75.2', '51', '61', '44'), '5.4', '219', CUT, TABLE_9_HAS_217),
        Row(('V3-Large 0.75',), Classifier('large', 0.75),
            ('73.3', '39', '46', '40'), '4.0', '155'),
        Row(('MnasNet-A1',), Classifier('mnasnet_a1'),
            ('75.2', '71', '86', '61'), '3.9', '315', None, MNASNET_PRINTS_312),
        Row(('ProxylessNAS',), None, ('74.6', '72', '84', '60'), '4.0', '320'),
        Row(('V2 1.0',), Classifier('v2'),
            ('72.0', '64', '76', '56'), '3.4', '300', V2_WITHOUT_NORM),
        Row(('V3-Small 1.0',), Classifier('small'),
            ('67.4', '15.8', '19.4', '14.4'), '2.5', '56', DIGITS),
        Row(('V3-Small 0.75',), Classifier('small', 0.75),
            ('65.4', '12.8', '15.6', '11.7'), '2.0', '44', DIGITS, EARLY_HEAD),
        Row(('Mnas-small',), Classifier('mnasnet_small'),
            ('64.9', '20.3', '24.2', '17.2'), '1.9', '65.1',
            MNASNET_SMALL, MNASNET_SMALL),
        Row(('V2 0.35',), Classifier('v2', 0.35),
            ('60.8', '16.6', '19.6', '13.9'), '1.6', '59.2', V2_WITHOUT_NORM),
    ),
)

TABLE_4 = Table(
    'Table 4: ImageNet, quantised',
    'The networks are those of Table 3, with 8-bit weights and activations; the paper '
    'prints no counts here, and ours are those of the networks in floating point.',
    ('network',), ('top-1 %', *_PHONES), (
        Row(('V3-Large 1.0',), Classifier('large'), ('73.8', '44', '42.5', '31.7')),
        Row(('V2 1.0',), Classifier('v2'), ('70.9', '52', '48.3', '37.0')),
        Row(('V3-Small',), Classifier('small'), ('64.9', '15.5', '14.9', '10.7')),
        Row(('V2 0.35',), Classifier('v2', 0.35), ('57.2', '16.7', '15.6', '11.9')),
    ),
)

TABLE_5 = Table(
    'Table 5: where V3-Large uses h-swish',
    'h-swish@N uses it in the blocks with N and more output channels and ReLU in the '
    'others. Each variant is built and counted: a non-linearity has no weights, so the '
    'counts are the same. The paper prints none. Its optimised kernel computes h-swish '
    'in one operation. What stem and last stage use in the ReLU row it does not say; '
    'here they keep h-swish.',
    ('variant',), ('top-1 %', 'P-1 ms optimised', 'P-1 ms not optimised'), (
        Row(('V3-Large (h-swish@80)',), Classifier('large', hswish_from=80),
            ('75.2', '51.4', '57.5')),
        Row(('ReLU',), Classifier('large', hswish_from=float('inf')),
            ('74.5', '50.5', '50.5')),
        Row(('h-swish@16',), Classifier('large', hswish_from=16),
            ('75.4', '53.5', '68.9')),
        Row(('h-swish@112',), Classifier('large', hswish_from=112),
            ('75.0', '51', '54.4')),
    ),
)

TABLE_6 = Table(
    'Table 6: SSDLite on COCO',
    'Pictures of 320 pixels. † has the halved tail. Parameters are counted without '
    'batch normalisation, as this table alone counts them. V1 and V2, whose rows come '
    "from the MobileNetV2 paper, have 81 class outputs (80 and background), the others "
    "91 (COCO's 90 ids and background). Latency is of a Pixel 1.",
    ('backbone',), ('mAP %', 'P-1 ms'), (
        Row(('V1',), Detector('v1', slots=81), ('22.2', '228'), '5.1', '1.3'),
        Row(('V2',), Detector('v2', slots=81), ('22.1', '162'), '4.3', '0.80',
            None, V2_PRINTS_ONE_DIGIT),
        Row(('MnasNet',), Detector('mnasnet_a1'), ('23.0', '174'), '4.88', '0.84'),
        Row(('V3',), Detector('large', tail=None), ('22.0', '137'), '4.97', '0.62',
            None, PRODUCTS),
        Row(('V3†',), Detector('large'), ('22.0', '119'), '3.22', '0.51'),
        Row(('V2 0.35',), Detector('v2', 0.35), ('13.7', '66'), '0.93', '0.16',
            None, CUT),
        Row(('V2 0.5',), Detector('v2', 0.5), ('16.6', '79'), '1.54', '0.27'),
        Row(('MnasNet 0.35',), Detector('mnasnet_a1', 0.35), ('15.6', '68'),
            '1.02', '0.18', None, DIGITS),
        Row(('MnasNet 0.5',), Detector('mnasnet_a1', 0.5), ('18.5', '85'),
            '1.68', '0.29'),
        Row(('V3-Small',), Detector('small', tail=None), ('16.0', '52'),
            '2.49', '0.21'),
        Row(('V3-Small†',), Detector('small'), ('16.1', '43'), '1.77', '0.16',
            None, DIGITS),
    ),
    unit='B',
    with_norm=False,
)

TABLE_7 = Table(
    'Table 7: Cityscapes, validation',
    'RF2 halves the filters of the last block. SH is the head: R for R-ASPP, LR for '
    'LR-ASPP; F are its filters. All at output stride 16. MAdds are those of the full '
    'picture, which DeepLab makes 1025×2049. CPU is one large core of a Pixel 3, for '
    'the full picture and for half its side.',
    ('row', 'backbone', 'RF2', 'SH', 'F'),
    ('mIoU %', 'CPU s full', 'CPU ms half'), (
        _row_7('1', 'V2', Segmenter('v2', lite=False, filters=256, tail=None),
            ('72.84', '3.90', '1020'), '2.11', '21.29'),
        _row_7('2', 'V2', Segmenter('v2', lite=False, filters=256),
            ('72.56', '3.03', '793'), '1.15', '13.68'),
        _row_7('3', 'V2', Segmenter('v2', filters=256),
            ('72.97', '2.98', '786'), '1.02', '12.83', V2_TAIL),
        _row_7('4', 'V2', Segmenter('v2'), ('72.74', '2.89', '766'), '0.98', '12.57'),
        _row_7('5', 'V3', Segmenter('large', lite=False, filters=256, tail=None),
            ('72.64', '3.55', '906'), '3.60', '18.43', None, PRODUCTS),
        _row_7('6', 'V3', Segmenter('large', lite=False, filters=256),
            ('71.91', '2.60', '668'), '1.76', '11.24', None, PRODUCTS),
        _row_7('7', 'V3', Segmenter('large', filters=256),
            ('72.37', '2.55', '659'), '1.63', '10.33', None, PRODUCTS),
        _row_7('8', 'V3', Segmenter('large'),
            ('72.36', '2.47', '657'), '1.51', '9.74', None, PRODUCTS),
        _row_7('9', 'V2 0.5', Segmenter('v2', width=0.5),
            ('68.57', '1.59', '415'), '0.28', '4.00', None, PRODUCTS),
        _row_7('10', 'V2 0.35', Segmenter('v2', width=0.35),
            ('66.83', '1.27', '354'), '0.16', '2.54', V2_TAIL_035, PRODUCTS),
        _row_7('11', 'V3-Small', Segmenter('small'),
            ('68.38', '1.21', '327'), '0.47', '2.90', None, PRODUCTS),
    ),
    unit='B',
)

TABLE_8 = Table(
    'Table 8: Cityscapes, test',
    'The networks of rows 8 and 11 of Table 7, also without dilation (output stride '
    '32), for the full picture (1025×2049 pixels) and for half its side (513×1025). '
    'CPU is one large core of a Pixel 3.',
    ('backbone', 'output stride', 'picture'), ('mIoU %', 'CPU'), (
        _row_8('V3', Segmenter('large', output_stride=16), ('72.6', '2.47 s'), '9.74'),
        _row_8('V3', Segmenter('large', output_stride=16, half=True),
            ('72.6', '657 ms'), '2.48'),
        _row_8('V3', Segmenter('large', output_stride=32), ('72.0', '2.06 s'), '7.74'),
        _row_8('V3', Segmenter('large', output_stride=32, half=True),
            ('72.0', '534 ms'), '1.98'),
        _row_8('V3-Small', Segmenter('small', output_stride=16),
            ('69.4', '1.21 s'), '2.90'),
        _row_8('V3-Small', Segmenter('small', output_stride=16, half=True),
            ('69.4', '327 ms'), '0.74'),
        _row_8('V3-Small', Segmenter('small', output_stride=32),
            ('68.3', '1.03 s'), '2.06'),
        _row_8('V3-Small', Segmenter('small', output_stride=32, half=True),
            ('68.3', '275 ms'), '0.53'),
        Row(('ESPNetv2', '–', 'half'), None, ('66.2', '–'), '', '2.7'),
        Row(('CCC2', '–', 'half'), None, ('62.0', '–'), '', '3.15'),
        Row(('ESPNetv1', '–', 'half'), None, ('60.3', '–'), '', '4.5'),
    ),
    unit='B',
)

TABLE_9 = Table(
    'Table 9: multipliers and resolutions',
    'P-1 is one large core of a Pixel 1. The row of Small at 192 pixels, which is '
    'missing from the transcription of v5 that was used, is that of the early version, '
    'with its latency.',
    ('network', 'pixels', 'multiplier'), ('top-1 %', 'P-1 ms'), (
        _row_9(Classifier('large', 1.25), ('76.6', '77.0'), '7.5', '356'),
        _row_9(Classifier('large'), ('75.2', '51.2'), '5.4', '217', CUT),
        _row_9(Classifier('large', 0.75), ('73.3', '39.8'), '4.0', '155'),
        _row_9(Classifier('large', 0.5), ('68.8', '21.7'), '2.6', '69', LAST_384),
        _row_9(Classifier('large', 0.35),
            ('64.2', '15.1'), '2.2', '40', LAST_384, LAST_384),
        _row_9(Classifier('large', side=256), ('76.0', '65.6'), '5.4', '282', CUT),
        _row_9(Classifier('large', side=192), ('73.7', '38.0'), '5.4', '160', CUT),
        _row_9(Classifier('large', side=160), ('71.7', '27.8'), '5.4', '112', CUT),
        _row_9(Classifier('large', side=128), ('68.4', '17.8'), '5.4', '73', CUT),
        _row_9(Classifier('large', side=96), ('63.3', '12.5'), '5.4', '43', CUT),
        _row_9(Classifier('small', 1.25), ('70.4', '23.6'), '3.6', '91', EARLY_HEAD),
        _row_9(Classifier('small'), ('67.5', '15.8'), '2.5', '57', DIGITS),
        _row_9(Classifier('small', 0.75),
            ('65.4', '12.8'), '2.0', '44', DIGITS, EARLY_HEAD),
        _row_9(Classifier('small', 0.5), ('58.0', '7.7'), '1.6', '21'),
        _row_9(Classifier('small', 0.35), ('49.8', '5.7'), '1.4', '12', DIGITS, CUT),
        _row_9(Classifier('small', side=256),
            ('68.5', '20.0'), '2.5', '74', DIGITS, EARLY_HEAD),
        _row_9(Classifier('small', side=192),
            ('65.4', '16.3'), '2.9', '42', EARLY_HEAD, name='V3-Small (early)'),
        _row_9(Classifier('small', side=160), ('62.8', '8.6'), '2.5', '30', DIGITS),
        _row_9(Classifier('small', side=128), ('57.3', '5.8'), '2.5', '20', DIGITS),
        _row_9(Classifier('small', side=96), ('51.7', '4.4'), '2.5', '12', DIGITS),
    ),
)

CHECKPOINTS = Table(
    'Beyond the tables: published checkpoints',
    "slim's README lists the checkpoints that were published with the paper, among "
    'them networks that the paper does not have: minimalistic (no squeeze-and-excite, '
    'h-swish or 5×5 kernels) and EdgeTPU. Latencies are of Pixel 1, 2 and 3; those of '
    "EdgeTPU are of a Pixel 4's Edge TPU and of its CPU.",
    ('checkpoint',),
    ('top-1 % float', 'top-1 % 8-bit', 'ms float', 'ms 8-bit'), (
        Row(('V3-Large 1.0',), Classifier('large'),
            ('75.2', '73.9', '51.2, 61, 44', '44, 42.5, 32'), '5.4', '217', CUT),
        Row(('V3-Large 0.75',), Classifier('large', 0.75),
            ('73.3', '–', '39.8, 48, 34', '–'), '4.0', '155'),
        Row(('V3-Small 1.0',), Classifier('small'),
            ('67.5', '64.9', '15.8, 19.4, 14.4', '15.5, 15, 10.7'),
            '2.9', '66', EARLY_HEAD, EARLY_66),
        Row(('V3-Small 0.75',), Classifier('small', 0.75),
            ('65.4', '–', '12.8, 15.9, 11.6', '–'),
            '2.4', '44', EARLY_HEAD, EARLY_HEAD),
        Row(('V3-Large minimalistic',), Classifier('large_minimalistic'),
            ('72.3', '71.3', '44.1, 51, 35', '37, 35, 27'), '3.9', '209'),
        Row(('V3-Small minimalistic',), Classifier('small_minimalistic'),
            ('61.9', '–', '12.2, 15.1, 11', '–'), '2.0', '65', DIGITS, SLIM_65),
        Row(('V3-EdgeTPU 1.0',), Classifier('edgetpu'),
            ('–', '75.6', '–', '3.6, 20.6'), '4.0', '990', CUT),
        Row(('V3-EdgeTPU 0.75',), Classifier('edgetpu', 0.75),
            ('–', '73.5', '–', '3.1, 13.8'), '2.9', '624', CUT),
    ),
    source='slim',
)
# fmt: on

TABLES: dict[int, Table | LayerTable] = {
    1: TABLE_1,
    2: TABLE_2,
    3: TABLE_3,
    4: TABLE_4,
    5: TABLE_5,
    6: TABLE_6,
    7: TABLE_7,
    8: TABLE_8,
    9: TABLE_9,
}
