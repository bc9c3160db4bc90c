"""Tables 3, 4, 5 and 9, and slim's published checkpoints, as printed.

Source: arXiv 1905.02244v5; the checkpoints stand in tensorflow/models
``research/slim/nets/mobilenet/README.md``.
"""

from __future__ import annotations

from studies.paper.networks import Classifier
from studies.paper.reasons import (
    CUT,
    DIGITS,
    EARLY_66,
    EARLY_HEAD,
    LAST_384,
    MNASNET_PRINTS_312,
    MNASNET_SMALL,
    SLIM_65,
    TABLE_9_HAS_217,
    V2_WITHOUT_NORM,
)
from studies.paper.tables import Row, Table

_PHONES = ('P-1 ms', 'P-2 ms', 'P-3 ms')

# fmt: off
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
        Row(('ProxylessNAS',), None,
            ('74.6', '72', '84', '60'), '4.0', '320'),
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

TABLE_9 = Table(
    'Table 9: multipliers and resolutions',
    'P-1 is one large core of a Pixel 1. The row of Small at 192 pixels, which is '
    'missing from the transcription of v5 that was used, is that of the early version, '
    'with its latency.',
    ('network', 'pixels', 'multiplier'), ('top-1 %', 'P-1 ms'), (
        Row(('V3-Large', '224', '1.25'), Classifier('large', 1.25),
            ('76.6', '77.0'), '7.5', '356'),
        Row(('V3-Large', '224', '1.0'), Classifier('large'),
            ('75.2', '51.2'), '5.4', '217', CUT),
        Row(('V3-Large', '224', '0.75'), Classifier('large', 0.75),
            ('73.3', '39.8'), '4.0', '155'),
        Row(('V3-Large', '224', '0.5'), Classifier('large', 0.5),
            ('68.8', '21.7'), '2.6', '69', LAST_384),
        Row(('V3-Large', '224', '0.35'), Classifier('large', 0.35),
            ('64.2', '15.1'), '2.2', '40', LAST_384, LAST_384),
        Row(('V3-Large', '256', '1.0'), Classifier('large', side=256),
            ('76.0', '65.6'), '5.4', '282', CUT),
        Row(('V3-Large', '192', '1.0'), Classifier('large', side=192),
            ('73.7', '38.0'), '5.4', '160', CUT),
        Row(('V3-Large', '160', '1.0'), Classifier('large', side=160),
            ('71.7', '27.8'), '5.4', '112', CUT),
        Row(('V3-Large', '128', '1.0'), Classifier('large', side=128),
            ('68.4', '17.8'), '5.4', '73', CUT),
        Row(('V3-Large', '96', '1.0'), Classifier('large', side=96),
            ('63.3', '12.5'), '5.4', '43', CUT),
        Row(('V3-Small', '224', '1.25'), Classifier('small', 1.25),
            ('70.4', '23.6'), '3.6', '91', EARLY_HEAD),
        Row(('V3-Small', '224', '1.0'), Classifier('small'),
            ('67.5', '15.8'), '2.5', '57', DIGITS),
        Row(('V3-Small', '224', '0.75'), Classifier('small', 0.75),
            ('65.4', '12.8'), '2.0', '44', DIGITS, EARLY_HEAD),
        Row(('V3-Small', '224', '0.5'), Classifier('small', 0.5),
            ('58.0', '7.7'), '1.6', '21'),
        Row(('V3-Small', '224', '0.35'), Classifier('small', 0.35),
            ('49.8', '5.7'), '1.4', '12', DIGITS, CUT),
        Row(('V3-Small', '256', '1.0'), Classifier('small', side=256),
            ('68.5', '20.0'), '2.5', '74', DIGITS, EARLY_HEAD),
        Row(('V3-Small (early)', '192', '1.0'), Classifier('small', side=192),
            ('65.4', '16.3'), '2.9', '42', EARLY_HEAD),
        Row(('V3-Small', '160', '1.0'), Classifier('small', side=160),
            ('62.8', '8.6'), '2.5', '30', DIGITS),
        Row(('V3-Small', '128', '1.0'), Classifier('small', side=128),
            ('57.3', '5.8'), '2.5', '20', DIGITS),
        Row(('V3-Small', '96', '1.0'), Classifier('small', side=96),
            ('51.7', '4.4'), '2.5', '12', DIGITS),
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
