"""The studies: which networks are timed, and beside which of the paper's figures."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from mmnv3.errors import UserError
from studies.latency.variants import STEPS, Variant, step_networks
from studies.networks import Classifier
from studies.paper.printed import TABLE_3, TABLE_4, TABLE_5, TABLE_6, TABLE_8
from studies.paper.tables import Table

Labels = tuple[str, ...]

_PIXELS = ('P-1 ms', 'P-2 ms', 'P-3 ms')
_FUSED, _NAIVE = 'one operation', 'separate operations'
_FLOAT, _EIGHT_BITS = 'float', '8 bits'
_RELU_EVERYWHERE = ('ReLU in stem and last stage too', '–')

_TO_MS = {'': 1.0, 'ms': 1.0, 's': 1e3}


@dataclass(frozen=True)
class Entry:
    """A network of a study.

    Args:
        labels: What the first columns say.
        variant: What is timed.
        accuracy: As printed, in percent; None where nothing is.
        printed_ms: Milliseconds as printed, by column; None where nothing is.
    """

    labels: Labels
    variant: Variant
    accuracy: float | None
    printed_ms: tuple[float | None, ...]


@dataclass(frozen=True)
class Contrast:
    """Two networks of a study, of which one is to be faster.

    Args:
        text: What is set against what.
        new: Labels of the one.
        old: Labels of the other.
    """

    text: str
    new: Labels
    old: Labels


@dataclass(frozen=True)
class Study:
    """Networks that are timed together.

    Args:
        key: What the tool calls it.
        title: What it is about.
        about: What to know before reading it.
        labels: Headers of the first columns.
        accuracy: What the printed accuracy is.
        columns: Headers of the printed latencies, in milliseconds. Ranks are compared
            with the first.
        entries: The networks; the others are set in proportion to the first.
        contrasts: Those that are set against each other.
        family: Tells a plot the line that an entry's labels belong to, and the name of
            its point.
        share: Of the runs that are asked for; large pictures get fewer.
        apart: Whether backends follow one another in place of taking turns, since not
            all fit into memory.
    """

    key: str
    title: str
    about: str
    labels: Labels
    accuracy: str
    columns: tuple[str, ...]
    entries: tuple[Entry, ...]
    contrasts: tuple[Contrast, ...]
    family: Callable[[Labels], tuple[str, str]]
    share: float = 1.0
    apart: bool = False

    @property
    def short_title(self) -> str:
        """Its table or figure."""
        return self.title.partition(':')[0]

    @property
    def printed_by(self) -> str:
        """What the paper timed by, as its first column says."""
        return self.columns[0].removesuffix(' ms')

    def printed_ms(self, column: int = 0) -> list[float | None]:
        """One of the printed columns, in the order of the entries."""
        return [entry.printed_ms[column] for entry in self.entries]


def _rows(table: Table, precision: str = 'fp32') -> tuple[Entry, ...]:
    """Rows of a table whose network can be built."""
    return tuple(
        Entry(
            row.labels,
            Variant(row.network, precision=precision),
            float(row.measured[0]),
            tuple(map(_read_ms, row.measured[1:])),
        )
        for row in table.rows
        if row.network
    )


def _read_ms(text: str) -> float:
    """Reads ``'657 ms'``, ``'2.47 s'``, or ``'51'``, which is milliseconds."""
    number, _, unit = text.partition(' ')
    return float(number) * _TO_MS[unit]


def _both_precisions() -> tuple[Entry, ...]:
    """Table 4's rows, each followed by the same network as Table 3 prints it."""
    floats = {entry.variant: entry for entry in _rows(TABLE_3)}
    entries = []
    for entry in _rows(TABLE_4, precision='int8'):
        twin = floats[replace(entry.variant, precision='fp32')]
        entries.append(replace(entry, labels=(*entry.labels, _EIGHT_BITS)))
        entries.append(replace(twin, labels=(*entry.labels, _FLOAT)))
    return tuple(entries)


def _both_spellings() -> tuple[Entry, ...]:
    """Table 5, each row with h-swish in one operation and in several."""
    entries = [
        Entry(
            (*entry.labels, _NAIVE if naive else _FUSED),
            replace(entry.variant, naive=naive),
            entry.accuracy,
            (entry.printed_ms[naive],),
        )
        for entry in _rows(TABLE_5)
        for naive in (False, True)
    ]
    everywhere = Variant(_relu_everywhere())
    return (*entries, Entry(_RELU_EVERYWHERE, everywhere, None, (None,)))


def _relu_everywhere() -> Classifier:
    spec = Classifier('large', hswish_from=float('inf')).spec()
    layers = {
        name: replace(getattr(spec, name), act='relu')
        for name in ('stem', 'last', 'head')
    }
    return Classifier(replace(spec, name='large_relu', **layers))


def _steps() -> tuple[Entry, ...]:
    """Figure 9; the paper prints the ends, in Table 3."""
    printed = {entry.variant.network: entry for entry in _rows(TABLE_3)}
    ends = {
        0: printed[Classifier('mnasnet_a1')],
        len(STEPS) - 1: printed[Classifier('large')],
    }
    entries = []
    for number, (step, network) in enumerate(zip(STEPS, step_networks())):
        end = ends.get(number)
        entries.append(
            Entry(
                (str(number), step.name, step.section),
                Variant(network),
                end and end.accuracy,
                (end and end.printed_ms[0],),
            )
        )
    return tuple(entries)


_STEPS = _steps()


def _rows_against(*couples: tuple[str, str]) -> tuple[Contrast, ...]:
    """Contrasts of rows that have one label each."""
    return tuple(
        Contrast(f'{new} against {old}', (new,), (old,)) for new, old in couples
    )


def _second_label(table: Table, new: str, old: str) -> tuple[Contrast, ...]:
    """Contrasts of the same row under two second labels."""
    return tuple(
        Contrast(f'{name}: {new} against {old}', (name, new), (name, old))
        for (name,) in (row.labels for row in table.rows)
    )


def _step_by_step() -> tuple[Contrast, ...]:
    """Contrasts of every step with the one before, and of the last with the first."""
    labels = [entry.labels for entry in _STEPS]
    couples = [(new, old, new[1]) for new, old in zip(labels[1:], labels)]
    couples.append((labels[-1], labels[0], 'all steps'))
    return tuple(
        Contrast(f'{new[0]} against {old[0]}: {what}', new, old)
        for new, old, what in couples
    )


def _by_first_word(labels: Labels) -> tuple[str, str]:
    """V3, V2, V1, or MnasNet."""
    start = labels[0].partition(' ')[0].partition('-')[0].rstrip('†')
    return 'MnasNet' if start.startswith('Mnas') else start, labels[0]


def _by_second_label(labels: Labels) -> tuple[str, str]:
    """The second label; the first, without V3-Large and brackets, names the point."""
    return labels[1], labels[0].rpartition('(')[2].rstrip(')')


def _by_picture(labels: Labels) -> tuple[str, str]:
    """Full or half, of Table 8."""
    backbone, stride, picture = labels
    return f'{picture} picture', f'{backbone}, {stride}'


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
            _rows(TABLE_3),
            _rows_against(
                ('V3-Large 1.0', 'V2 1.0'),
                ('V3-Large 1.0', 'MnasNet-A1'),
                ('V3-Small 1.0', 'V2 0.35'),
                ('V3-Small 1.0', 'Mnas-small'),
            ),
            _by_first_word,
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
            _both_precisions(),
            _second_label(TABLE_4, _EIGHT_BITS, _FLOAT),
            _by_second_label,
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
            _both_spellings(),
            (
                *_second_label(TABLE_5, _NAIVE, _FUSED),
                *(
                    Contrast(
                        f'{new}: against ReLU, h-swish in {how}',
                        (new, how),
                        ('ReLU', how),
                    )
                    for how in (_FUSED, _NAIVE)
                    for new in ('V3-Large (h-swish@80)', 'h-swish@16', 'h-swish@112')
                ),
                Contrast(
                    'V3-Large (h-swish@80): against ReLU in all layers',
                    ('V3-Large (h-swish@80)', _FUSED),
                    _RELU_EVERYWHERE,
                ),
            ),
            _by_second_label,
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
            _step_by_step(),
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
            _rows(TABLE_6),
            _rows_against(
                ('V3†', 'V3'),
                ('V3†', 'V2'),
                ('V3†', 'MnasNet'),
                ('V3-Small†', 'V2 0.35'),
            ),
            _by_first_word,
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
            _rows(TABLE_8),
            tuple(
                Contrast(
                    f'{backbone}, {picture} picture: output stride 32 against 16',
                    (backbone, '32', picture),
                    (backbone, '16', picture),
                )
                for backbone in ('V3', 'V3-Small')
                for picture in ('full', 'half')
            ),
            _by_picture,
            share=0.2,
            apart=True,
        ),
    )
}


def find_studies(keys: Sequence[str]) -> list[Study]:
    """Studies by their keys; all for none.

    Raises:
        UserError: For an unknown key.
    """
    unknown = [key for key in keys if key not in STUDIES]
    if unknown:
        raise UserError(
            f'--study {unknown[0]} is unknown; possible: {", ".join(STUDIES)}'
        )
    return [STUDIES[key] for key in keys or STUDIES]
