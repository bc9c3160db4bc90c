"""The studies: which networks of the paper's tables are timed, and beside what."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from mmnv3.arch import ConvSpec, get_spec
from studies.latency.figure9 import step_specs
from studies.latency.study import Contrast, Entry, Study, Variant
from studies.paper.networks import Classifier
from studies.paper.rows import TABLE_3, TABLE_4, TABLE_5, TABLE_6, TABLE_8
from studies.paper.tables import Table

FUSED, NAIVE = 'one operation', 'separate operations'
FLOAT, EIGHT_BITS = 'float', '8 bits'

RELU_EVERYWHERE = ('ReLU in stem and last stage too', '–')

_TO_MS = {'ms': 1.0, 's': 1e3}


def plain_rows(
    table: Table, count: int = 3, precision: str = 'fp32'
) -> Iterator[Entry]:
    """Rows of a table whose network can be built; `count` printed latencies."""
    for row in table.rows:
        if row.network:
            accuracy, *printed = row.measured
            yield Entry(
                row.labels,
                Variant(row.network, precision=precision),
                float(accuracy),
                tuple(map(_milliseconds, printed[:count])),
            )


def _milliseconds(text: str) -> float:
    """Reads ``'657 ms'``, ``'2.47 s'``, or ``'51'``, which is milliseconds."""
    number, _, unit = text.partition(' ')
    return float(number) * _TO_MS[unit or 'ms']


def both_precisions() -> Iterator[Entry]:
    """Table 4's rows, each followed by the same network as Table 3 prints it."""
    floats = {entry.variant: entry for entry in plain_rows(TABLE_3)}
    for entry in plain_rows(TABLE_4, precision='int8'):
        yield replace(entry, labels=(*entry.labels, EIGHT_BITS))
        twin = floats[replace(entry.variant, precision='fp32')]
        yield replace(twin, labels=(*entry.labels, FLOAT))


def _relu_everywhere() -> Classifier:
    spec = get_spec('large')
    layers: dict[str, ConvSpec] = {
        name: replace(getattr(spec, name), act='relu')
        for name in ('stem', 'last', 'head')
    }
    blocks = tuple(replace(block, act='relu') for block in spec.blocks)
    return Classifier(replace(spec, name='large_relu', blocks=blocks, **layers))


def both_spellings() -> Iterator[Entry]:
    """Table 5, each row with h-swish in one operation and in several."""
    for row in TABLE_5.rows:
        accuracy, *printed = row.measured
        for naive, text in zip((False, True), printed):
            yield Entry(
                (*row.labels, NAIVE if naive else FUSED),
                Variant(row.network, naive=naive),
                float(accuracy),
                (float(text),),
            )
    yield Entry(
        RELU_EVERYWHERE,
        Variant(_relu_everywhere()),
        printed=(None,),
    )


def steps() -> Iterator[Entry]:
    """Figure 9; the paper prints the ends, in Table 3."""
    ends = {
        row.network.arch: row.measured
        for row in TABLE_3.rows
        if row.network and row.network.width == 1
    }
    found = list(step_specs())
    for number, (step, spec) in enumerate(found):
        arch = {0: 'mnasnet_a1', len(found) - 1: 'large'}.get(number)
        accuracy, pixel = ends[arch][:2] if arch else (None, None)
        yield Entry(
            (str(number), step.name, step.section),
            Variant(Classifier(spec)),
            accuracy and float(accuracy),
            (pixel and float(pixel),),
        )


def rows_against(*couples: tuple[str, str]) -> tuple[Contrast, ...]:
    """Contrasts of rows that have one label each."""
    return tuple(
        Contrast(f'{new} against {old}', (new,), (old,)) for new, old in couples
    )


def second_label(rows: Table, new: str, old: str) -> tuple[Contrast, ...]:
    """Contrasts of the same row under two second labels."""
    return tuple(
        Contrast(
            f'{row.labels[0]}: {new} against {old}',
            (*row.labels, new),
            (*row.labels, old),
        )
        for row in rows.rows
    )


def step_by_step(steps: tuple[Entry, ...]) -> tuple[Contrast, ...]:
    """Contrasts of every step with the one before, and of the last with the first."""
    couples = [*zip(steps[1:], steps), (steps[-1], steps[0])]
    return tuple(
        Contrast(
            f'{new.labels[0]} against {old.labels[0]}: '
            + ('all steps' if new is steps[-1] and old is steps[0] else new.labels[1]),
            new.labels,
            old.labels,
        )
        for new, old in couples
    )


def by_first_word(labels: tuple[str, ...]) -> tuple[str, str]:
    """V3, V2, V1, or MnasNet."""
    start = labels[0].partition(' ')[0].partition('-')[0].rstrip('†')
    return 'MnasNet' if start.startswith('Mnas') else start, labels[0]


def by_second_label(labels: tuple[str, ...]) -> tuple[str, str]:
    """The second label; the first, without V3-Large and brackets, names the point."""
    return labels[1], labels[0].rpartition('(')[2].rstrip(')')


def by_picture(labels: tuple[str, ...]) -> tuple[str, str]:
    """Full or half, of Table 8."""
    backbone, stride, picture = labels
    return f'{picture} picture', f'{backbone}, {stride}'


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
