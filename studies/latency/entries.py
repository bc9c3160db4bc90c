"""The networks of the studies, out of the paper's tables."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from mmnv3.arch import ConvSpec, get_spec
from studies.latency.figure9 import step_specs
from studies.latency.study import Entry
from studies.latency.variant import Variant
from studies.networks import Classifier
from studies.paper.printed import TABLE_3, TABLE_4, TABLE_5
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
