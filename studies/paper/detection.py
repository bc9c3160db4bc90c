"""Table 6 as printed. Source: arXiv 1905.02244v5."""

from __future__ import annotations

from studies.paper.networks import Detector
from studies.paper.reasons import CUT, DIGITS, PRODUCTS, V2_PRINTS_ONE_DIGIT
from studies.paper.tables import Row, Table

# fmt: off
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
# fmt: on
