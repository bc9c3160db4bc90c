"""The page that shows the paper's tables beside ours, in Markdown."""

from __future__ import annotations

import textwrap
from collections.abc import Iterable, Iterator, Sequence

from studies.paper.classification import (
    CHECKPOINTS,
    TABLE_3,
    TABLE_4,
    TABLE_5,
    TABLE_9,
)
from studies.paper.detection import TABLE_6
from studies.paper.layers import (
    TABLE_1,
    TABLE_2,
    BuiltLayer,
    Layer,
    LayerTable,
    differences,
    read_layers,
)
from studies.paper.networks import cost
from studies.paper.plots import FIGURES
from studies.paper.reasons import CUT, DIGITS
from studies.paper.segmentation import TABLE_7, TABLE_8
from studies.paper.tables import UNITS, Comparison, Reason, Table, compare

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

_DASH = '–'
_WIDTH = 88

_FIELD_TITLES = dict(
    side='input side',
    channels='input channels',
    operator='operator',
    expand='exp',
    out='out',
    se='SE',
    act='NL',
    stride='s',
)

_INTRODUCTION = """\
# The paper's tables beside ours

Written by `python tools/paper_tables.py --out docs/paper_tables.md`, which builds every
network and counts it; a test fails when this page no longer matches the code. To change
it, edit `studies/paper`.

- **paper** columns are printed in "Searching for MobileNetV3" (arXiv 1905.02244v5).
  Accuracies and latencies are the paper's, measured by its authors on phones; none was
  measured here.
- **our** columns are counted on the built modules: parameters, and MAdds, the
  multiply-adds with weights (those of convolutions), of one picture. The rounded figure
  has the digits of the print.
- **deviation** is the exact count against the print as it stands. Where it is more than
  1 %, the last column refers to the reason below the table; the figure in brackets is
  what the reason's own assumption counts.
- A dash: not printed, or a network of others that this package does not have.
"""


def render_page() -> str:
    """The whole page: figures, all tables, and slim's published checkpoints."""
    tables = [*TABLES.values(), CHECKPOINTS]
    parts = [
        _INTRODUCTION,
        _summary(table for table in tables if isinstance(table, Table)),
        *(
            f'## {figure.title}\n\n![{figure.title}]({figure.file})\n\n'
            + wrap_text(figure.about)
            for figure in FIGURES
        ),
        *map(render_table, tables),
    ]
    return '\n'.join(parts)


def render_table(table: Table | LayerTable) -> str:
    """One table with its heading and its reasons."""
    numbers: dict[Reason, int] = {}
    if isinstance(table, LayerTable):
        body = _render_layers(table, numbers)
    else:
        body = _render_rows(table, numbers)
    reasons = ''.join(
        wrap_text(reason.text, f'{number}. ') for reason, number in numbers.items()
    )
    parts = [f'## {table.title}\n', wrap_text(table.about), body]
    return '\n'.join([*parts, reasons] if reasons else parts)


def _summary(tables: Iterable[Table]) -> str:
    """Says how many counts were compared, and what the reasons are."""
    found = [
        item
        for table in tables
        for row in table.rows
        for item in compare(table, row)
        if item.deviation is not None
    ]
    beyond = [item for item in found if item.wants_reason]
    rounding = sum(item.why in (CUT, DIGITS) for item in beyond)
    recounted = sum(item.recounted is not None for item in beyond)
    return wrap_text(
        f'Of {len(found)} printed counts {len(found) - len(beyond)} are reproduced '
        f'within 1 %. Of the other {len(beyond)}, {rounding} differ by the rounding of '
        f'the print alone, {recounted} agree with the print when they are counted as '
        f'their reason assumes, and {len(beyond) - rounding - recounted} have a reason '
        'in words alone.'
    )


def _render_rows(table: Table, numbers: dict[Reason, int]) -> str:
    header = [*table.labels, *(f'{table.source}: {name}' for name in table.measured)]
    printed = [any(row.params for row in table.rows)]
    printed.append(any(row.madds for row in table.rows))
    for kind, unit, full in zip(('params', 'MAdds'), ('M', table.unit), printed):
        ours = (f'our {kind} {unit}', f'our {kind}, exactly')
        header += (
            (f'{table.source}: {kind} {unit}', *ours, 'deviation') if full else ours
        )
    rows = []
    for row in table.rows:
        items = tuple(compare(table, row))
        cells = [*row.labels, *row.measured]
        for item, full in zip(items, printed):
            cells += _count_cells(item) if full else _our_cells(item)
        if any(printed):
            cells.append('; '.join(_refer(item, numbers) for item in items if item.why))
        rows.append(cells)
    return markdown_table([*header, 'reasons'] if any(printed) else header, rows)


def _count_cells(item: Comparison) -> tuple[str, ...]:
    return (
        item.printed or _DASH,
        *_our_cells(item),
        _DASH if item.deviation is None else f'{100 * item.deviation:+.2f} %',
    )


def _our_cells(item: Comparison) -> tuple[str, str]:
    if item.ours is None:
        return _DASH, _DASH
    return f'{item.ours / item.unit:.{item.digits}f}', f'{item.ours:,}'


def _refer(item: Comparison, numbers: dict[Reason, int]) -> str:
    """Names a reason by its number, and what its assumption counts."""
    number = numbers.setdefault(item.why, len(numbers) + 1)
    if item.recounted is None:
        return f'{item.kind}: {number}'
    recounted = item.recounted / item.unit
    return f'{item.kind}: {number} ({recounted:.{item.digits + 1}f})'


def _render_layers(table: LayerTable, numbers: dict[Reason, int]) -> str:
    header = ['#', 'input', 'operator', 'exp', 'out', 'SE', 'NL', 's', 'built']
    header += ['our params', 'our MAdds M']
    rows = []
    for index, (row, built) in enumerate(zip(table.rows, read_layers(table.network))):
        why = table.reasons.get(index)
        number = why and numbers.setdefault(why, len(numbers) + 1)
        rows.append([str(index), *_layer_cells(row, built, number)])
    whole = cost(table.network)
    total = ['', 'total', *[''] * 7, f'{whole.params:,}', _millions(whole.madds)]
    return markdown_table(header, [*rows, total])


def _layer_cells(row: Layer, built: BuiltLayer, number: int | None) -> list[str]:
    unlike = differences(row, built.layer)
    agrees = ', '.join(_differences(built.layer, unlike)) if unlike else 'as printed'
    return [
        f'{row.side}²×{row.channels}',
        row.operator,
        str(row.expand or _DASH),
        str(row.out or _DASH),
        '✓' if row.se else _DASH,
        row.act or _DASH,
        str(row.stride),
        f'{agrees}: {number}' if number else agrees,
        f'{built.params:,}',
        _millions(built.madds),
    ]


def _differences(layer: Layer, names: Iterable[str]) -> Iterator[str]:
    """Tells what a layer has in the fields that are not as printed."""
    for name in names:
        value, title = getattr(layer, name), _FIELD_TITLES[name]
        if not value:
            yield f'no {title}'
        else:
            yield title if value is True else f'{title} {value}'


def _millions(madds: int) -> str:
    return f'{madds / UNITS["M"]:.3f}'


def wrap_text(text: str, mark: str = '') -> str:
    """Breaks a paragraph, or an item of a list that begins with its mark."""
    indent = ' ' * len(mark)
    return (
        textwrap.fill(
            mark + text,
            _WIDTH,
            subsequent_indent=indent,
            break_on_hyphens=False,
            break_long_words=False,
        )
        + '\n'
    )


def markdown_table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A table whose columns are as wide as their widest cell, to read as text too."""
    widths = [max(map(len, column)) for column in zip(header, *rows)]
    rule = ['-' * width for width in widths]
    lines = (
        '| ' + ' | '.join(cell.ljust(width) for cell, width in zip(line, widths)) + ' |'
        for line in (header, rule, *rows)
    )
    return '\n'.join(lines) + '\n'
