"""The studies: which networks of the paper's tables are timed, and beside what."""

from __future__ import annotations

from studies.latency.contrasts import (
    by_first_word,
    by_picture,
    by_second_label,
    rows_against,
    second_label,
    step_by_step,
)
from studies.latency.entries import (
    EIGHT_BITS,
    FLOAT,
    FUSED,
    NAIVE,
    RELU_EVERYWHERE,
    both_precisions,
    both_spellings,
    plain_rows,
    steps,
)
from studies.latency.study import Contrast, Study
from studies.paper.printed import TABLE_3, TABLE_4, TABLE_5, TABLE_6, TABLE_8

_STEPS = tuple(steps())
_PIXELS = ('P-1 ms', 'P-2 ms', 'P-3 ms')

STUDIES = {
    study.key: study
    for study in (
        Study(
            '3',
            'Table 3: ImageNet, floating point',
            'Pictures of 224 pixels. P-n is one large core of a Pixel n. ProxylessNAS '
            'is not built here.',
            TABLE_3.labels,
            'top-1 %',
            _PIXELS,
            tuple(plain_rows(TABLE_3)),
            rows_against(
                ('V3-Large 1.0', 'V2 1.0'),
                ('V3-Large 1.0', 'MnasNet-A1'),
                ('V3-Small 1.0', 'V2 0.35'),
                ('V3-Small 1.0', 'Mnas-small'),
            ),
            by_first_word,
        ),
        Study(
            '4',
            'Table 4: ImageNet, 8 bits',
            'Weights and activations of 8 bits, as `tools/export.py` writes them, '
            'beside the same networks in floating point. The weights are random and '
            'the quantisers saw noise: good for times, and for nothing else. PyTorch '
            "has no 8-bit files here. The paper's figures in floating point are those "
            'of Table 3.',
            (*TABLE_4.labels, 'numbers'),
            'top-1 %',
            _PIXELS,
            tuple(both_precisions()),
            second_label(TABLE_4, EIGHT_BITS, FLOAT),
            by_second_label,
        ),
        Study(
            '5',
            'Table 5: where V3-Large uses h-swish, and how it is written',
            'h-swish@N uses it in the blocks with N and more output channels and ReLU '
            'in the others; stem and last stage keep h-swish but in the last row. '
            'That the paper prints one latency for ReLU, with the optimised kernel and '
            'without it, speaks for ReLU in all layers, as that row has it. '
            'Each network is written twice: with h-swish '
            "as the one operation that PyTorch has for it, beside the paper's "
            'optimised kernel, and as x · ReLU6(x + 3) / 6, four operations, beside '
            "the paper's figure without it. Where both take the same, the runtime "
            'recognises the four, or computes them in one pass.',
            (*TABLE_5.labels, 'h-swish'),
            'top-1 %',
            ('P-1 ms',),
            tuple(both_spellings()),
            (
                *second_label(TABLE_5, NAIVE, FUSED),
                *(
                    Contrast(
                        f'{new}: against ReLU, h-swish in {how}',
                        (new, how),
                        ('ReLU', how),
                    )
                    for how in (FUSED, NAIVE)
                    for new in ('V3-Large (h-swish@80)', 'h-swish@16', 'h-swish@112')
                ),
                Contrast(
                    'V3-Large (h-swish@80): against ReLU in all layers',
                    ('V3-Large (h-swish@80)', FUSED),
                    RELU_EVERYWHERE,
                ),
            ),
            by_second_label,
        ),
        Study(
            'figure9',
            'Figure 9: from MnasNet-A1 to V3-Large',
            'The paper draws this figure and prints no numbers of it but those of its '
            "ends, which are Table 3's. What a step changes is what the section named "
            'beside it describes. The names of the steps and their order are ours, '
            "and so is the choice to change widths as one step. The paper's text says "
            'of the last stage that it saves 7 ms and 30 M MAdds, and of the stem '
            'that it saves 2 ms and 10 M.',
            ('step', 'what is new', 'section'),
            'top-1 %',
            ('P-1 ms',),
            _STEPS,
            step_by_step(_STEPS),
            lambda labels: ('', labels[1]),
        ),
        Study(
            '6',
            'Table 6: SSDLite on COCO',
            'Pictures of 320 pixels, backbone, extra levels and predictors; decoding '
            'and suppression are left out. † has the halved tail. Latency is of a '
            'Pixel 1.',
            TABLE_6.labels,
            'mAP %',
            ('P-1 ms',),
            tuple(plain_rows(TABLE_6)),
            rows_against(
                ('V3†', 'V3'),
                ('V3†', 'V2'),
                ('V3†', 'MnasNet'),
                ('V3-Small†', 'V2 0.35'),
            ),
            by_first_word,
        ),
        Study(
            '8',
            'Table 8: Cityscapes',
            'LR-ASPP for the full picture (1025×2049 pixels) and for half its side '
            '(513×1025), up to the class scores at stride 8; resizing them to the '
            'picture is left out. CPU is one large core of a Pixel 3.',
            TABLE_8.labels,
            'mIoU %',
            ('CPU ms',),
            tuple(plain_rows(TABLE_8)),
            tuple(
                Contrast(
                    f'{backbone}, {picture} picture: output stride 32 against 16',
                    (backbone, '32', picture),
                    (backbone, '16', picture),
                )
                for backbone in ('V3', 'V3-Small')
                for picture in ('full', 'half')
            ),
            by_picture,
            share=0.2,
            apart=True,
        ),
    )
}
