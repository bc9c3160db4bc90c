"""The page that shows the paper's tables beside ours."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path

from mmnv3.errors import UserError
from studies import page
from studies.networks import cost
from studies.page import DASH, figure_section, markdown_table, wrap_text
from studies.paper.plots import FRONTIERS, draw_frontier
from studies.paper.printed import CHECKPOINTS, CUT, DIGITS, TABLES
from studies.paper.tables import (
    UNITS,
    BuiltLayer,
    Comparison,
    LayerRow,
    LayerTable,
    Reason,
    Table,
    built_layers,
    compare,
)

_LAYER_FIELDS = dict(
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


def write_page(path: Path) -> list[Path]:
    """Writes the page, and the figures that it shows beside it.

    Returns:
        The files that were written.

    Raises:
        UserError: When a file cannot be written there.
    """
    figures = {frontier.file: draw_frontier(frontier) for frontier in FRONTIERS}
    return page.write_page(path, render_page(), figures)


def render_page() -> str:
    """The whole page: figures, all tables, and slim's published checkpoints."""
    tables = [*TABLES.values(), CHECKPOINTS]
    return '\n'.join(
        [
            _INTRODUCTION,
            _summary(table for table in tables if isinstance(table, Table)),
            *(figure_section(f.title, f.file, f.about) for f in FRONTIERS),
            *map(_render_table, tables),
        ]
    )


def render_tables(numbers: Iterable[str]) -> str:
    """Some tables, by their numbers in the paper.

    Raises:
        UserError: When the paper has no such table of networks.
    """
    unknown = set(numbers) - set(map(str, TABLES))
    if unknown:
        raise UserError(
            f'--table {min(unknown)}: the paper has no such table of networks; '
            f'possible: {min(TABLES)} to {max(TABLES)}'
        )
    return '\n'.join(_render_table(TABLES[int(number)]) for number in numbers)


def _render_table(table: Table | LayerTable) -> str:
    """One table with its heading and its reasons, numbered as they appear."""
    numbers: dict[Reason, int] = {}
    render = _render_layers if isinstance(table, LayerTable) else _render_rows
    parts = [f'## {table.title}\n', wrap_text(table.about), render(table, numbers)]
    if numbers:
        parts.append(
            ''.join(wrap_text(why.text, f'{n}. ') for why, n in numbers.items())
        )
    return '\n'.join(parts)


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
    # The print's columns are left out where it has no such counts.
    printed = [any(row.params for row in table.rows)]
    printed.append(any(row.madds for row in table.rows))
    for kind, unit, full in zip(('params', 'MAdds'), ('M', table.unit), printed):
        ours = [f'our {kind} {unit}', f'our {kind}, exactly']
        print_ = f'{table.source}: {kind} {unit}'
        header += [print_, *ours, 'deviation'] if full else ours
    if any(printed):
        header.append('reasons')
    rows = []
    for row in table.rows:
        items = compare(table, row)
        cells = [*row.labels, *row.measured]
        for item, full in zip(items, printed):
            cells += _count_cells(item) if full else _our_cells(item)
        if any(printed):
            cells.append('; '.join(_refer(item, numbers) for item in items if item.why))
        rows.append(cells)
    return markdown_table(header, rows)


def _count_cells(item: Comparison) -> list[str]:
    deviation = DASH if item.deviation is None else f'{100 * item.deviation:+.2f} %'
    return [item.printed or DASH, *_our_cells(item), deviation]


def _our_cells(item: Comparison) -> list[str]:
    if item.ours is None:
        return [DASH, DASH]
    return [f'{item.ours / item.unit:.{item.digits}f}', f'{item.ours:,}']


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
    for index, (row, built) in enumerate(zip(table.rows, built_layers(table.network))):
        agrees = _agreement(row, built)
        if why := table.reasons.get(index):
            agrees += f': {numbers.setdefault(why, len(numbers) + 1)}'
        counts = _exact_cells(built.params, built.madds)
        rows.append([str(index), *_layer_cells(row), agrees, *counts])
    whole = cost(table.network)
    counts = _exact_cells(whole.params, whole.madds)
    return markdown_table(header, [*rows, ['', 'total', *[''] * 7, *counts]])


def _layer_cells(row: LayerRow) -> Sequence[str]:
    return (
        f'{row.side}²×{row.channels}',
        row.operator,
        str(row.expand or DASH),
        str(row.out or DASH),
        '✓' if row.se else DASH,
        row.act or DASH,
        str(row.stride),
    )


def _agreement(row: LayerRow, built: BuiltLayer) -> str:
    """Tells what is built where it is not as printed."""
    told = []
    for name in row.differences(built.row):
        value, title = getattr(built.row, name), _LAYER_FIELDS[name]
        if not value:
            told.append(f'no {title}')
        else:
            told.append(title if value is True else f'{title} {value}')
    return ', '.join(told) or 'as printed'


def _exact_cells(params: int, madds: int) -> Sequence[str]:
    return f'{params:,}', f'{madds / UNITS["M"]:.3f}'
