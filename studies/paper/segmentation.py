"""Tables 7 and 8 as printed. Source: arXiv 1905.02244v5."""

from __future__ import annotations

from studies.paper.networks import Segmenter
from studies.paper.reasons import PRODUCTS, V2_TAIL, V2_TAIL_035
from studies.paper.tables import Row, Table

# fmt: off
TABLE_7 = Table(
    'Table 7: Cityscapes, validation',
    'RF2 halves the filters of the last block. SH is the head: R for R-ASPP, LR for '
    'LR-ASPP; F are its filters. All at output stride 16. MAdds are those of the full '
    'picture, which DeepLab makes 1025×2049. CPU is one large core of a Pixel 3, for '
    'the full picture and for half its side.',
    ('row', 'backbone', 'RF2', 'SH', 'F'),
    ('mIoU %', 'CPU s full', 'CPU ms half'), (
        Row(('1', 'V2', '–', 'R', '256'),
            Segmenter('v2', lite=False, filters=256, tail=None),
            ('72.84', '3.90', '1020'), '2.11', '21.29'),
        Row(('2', 'V2', '✓', 'R', '256'),
            Segmenter('v2', lite=False, filters=256),
            ('72.56', '3.03', '793'), '1.15', '13.68'),
        Row(('3', 'V2', '✓', 'LR', '256'),
            Segmenter('v2', filters=256),
            ('72.97', '2.98', '786'), '1.02', '12.83', V2_TAIL),
        Row(('4', 'V2', '✓', 'LR', '128'),
            Segmenter('v2'),
            ('72.74', '2.89', '766'), '0.98', '12.57'),
        Row(('5', 'V3', '–', 'R', '256'),
            Segmenter('large', lite=False, filters=256, tail=None),
            ('72.64', '3.55', '906'), '3.60', '18.43', None, PRODUCTS),
        Row(('6', 'V3', '✓', 'R', '256'),
            Segmenter('large', lite=False, filters=256),
            ('71.91', '2.60', '668'), '1.76', '11.24', None, PRODUCTS),
        Row(('7', 'V3', '✓', 'LR', '256'),
            Segmenter('large', filters=256),
            ('72.37', '2.55', '659'), '1.63', '10.33', None, PRODUCTS),
        Row(('8', 'V3', '✓', 'LR', '128'),
            Segmenter('large'),
            ('72.36', '2.47', '657'), '1.51', '9.74', None, PRODUCTS),
        Row(('9', 'V2 0.5', '✓', 'LR', '128'),
            Segmenter('v2', width=0.5),
            ('68.57', '1.59', '415'), '0.28', '4.00', None, PRODUCTS),
        Row(('10', 'V2 0.35', '✓', 'LR', '128'),
            Segmenter('v2', width=0.35),
            ('66.83', '1.27', '354'), '0.16', '2.54', V2_TAIL_035, PRODUCTS),
        Row(('11', 'V3-Small', '✓', 'LR', '128'),
            Segmenter('small'),
            ('68.38', '1.21', '327'), '0.47', '2.90', None, PRODUCTS),
    ),
    unit='B',
)


def _v3(arch: str, output_stride: int, half: bool = False) -> Segmenter:
    return Segmenter(arch, output_stride=output_stride, half=half)


TABLE_8 = Table(
    'Table 8: Cityscapes, test',
    'The networks of rows 8 and 11 of Table 7, also without dilation (output stride '
    '32), for the full picture (1025×2049 pixels) and for half its side (513×1025). '
    'CPU is one large core of a Pixel 3.',
    ('backbone', 'output stride', 'picture'), ('mIoU %', 'CPU'), (
        Row(('V3', '16', 'full'), _v3('large', 16),
            ('72.6', '2.47 s'), '', '9.74', None, PRODUCTS),
        Row(('V3', '16', 'half'), _v3('large', 16, half=True),
            ('72.6', '657 ms'), '', '2.48', None, PRODUCTS),
        Row(('V3', '32', 'full'), _v3('large', 32),
            ('72.0', '2.06 s'), '', '7.74', None, PRODUCTS),
        Row(('V3', '32', 'half'), _v3('large', 32, half=True),
            ('72.0', '534 ms'), '', '1.98', None, PRODUCTS),
        Row(('V3-Small', '16', 'full'), _v3('small', 16),
            ('69.4', '1.21 s'), '', '2.90', None, PRODUCTS),
        Row(('V3-Small', '16', 'half'), _v3('small', 16, half=True),
            ('69.4', '327 ms'), '', '0.74', None, PRODUCTS),
        Row(('V3-Small', '32', 'full'), _v3('small', 32),
            ('68.3', '1.03 s'), '', '2.06', None, PRODUCTS),
        Row(('V3-Small', '32', 'half'), _v3('small', 32, half=True),
            ('68.3', '275 ms'), '', '0.53', None, PRODUCTS),
        Row(('ESPNetv2', '–', 'half'), None, ('66.2', '–'), '', '2.7'),
        Row(('CCC2', '–', 'half'), None, ('62.0', '–'), '', '3.15'),
        Row(('ESPNetv1', '–', 'half'), None, ('60.3', '–'), '', '4.5'),
    ),
    unit='B',
)
# fmt: on
