"""The page that shows the paper's tables beside ours, and its two figures."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from studies.pages import DASH, markdown_table, picture, wrap_text, write_page
from studies.paper.networks import Classifier, cost
from studies.paper.rows import (
    CHECKPOINTS,
    CUT,
    DIGITS,
    TABLE_3,
    TABLE_9,
    TABLES,
)
from studies.paper.tables import (
    UNITS,
    BuiltLayer,
    Comparison,
    Layer,
    LayerTable,
    Reason,
    Row,
    Table,
    compare,
    differences,
    read_layers,
)
from studies.plots import COLOURS, name_point, new_figure, use_log_axis

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
            f'## {figure.title}\n\n{picture(figure.title, figure.file)}\n'
            + wrap_text(figure.about)
            for figure in FIGURES
        ),
        *map(render_table, tables),
    ]
    return '\n'.join(parts)


def write_tables(path: Path) -> list[Path]:
    """Writes the page, and its figures beside it; see :func:`write_page`."""
    figures = {figure.file: draw_frontier(figure) for figure in FIGURES}
    return write_page(path, render_page(), figures)


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
        item.printed or DASH,
        *_our_cells(item),
        DASH if item.deviation is None else f'{100 * item.deviation:+.2f} %',
    )


def _our_cells(item: Comparison) -> tuple[str, str]:
    if item.ours is None:
        return DASH, DASH
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
        str(row.expand or DASH),
        str(row.out or DASH),
        '✓' if row.se else DASH,
        row.act or DASH,
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


_V3_NAMES = {'large': 'V3-Large', 'small': 'V3-Small'}
_V3_COLOURS = dict(zip(_V3_NAMES, COLOURS))

# Where a point's name stands, in printer's points: Small's lie above its line, Large's
# below, and two networks that are nearly one point give way to each other.
_OFFSETS = {
    'small': (-6, 4),
    'large': (7, -6),
    'MnasNet-A1': (6, -1),
    'ProxylessNAS': (6, -9),
}


@dataclass(frozen=True)
class Frontier:
    """A figure.

    Args:
        file: Its file name.
        title: What it shows.
        about: What to know before reading it.
        axis: Label of the horizontal axis.
        read: The place of a row on it.
        ticks: Where that axis is labelled.
    """

    file: str
    title: str
    about: str
    axis: str
    read: Callable[[Row], float]
    ticks: tuple[int, ...]


def _latency(row: Row) -> float:
    """Milliseconds on Pixel 1, which Tables 3 and 9 print after the accuracy."""
    return float(row.measured[1])


def _madds(row: Row) -> float:
    """Our millions of multiply-adds; as printed where the network is not ours."""
    return cost(row.network).madds / UNITS['M'] if row.network else float(row.madds)


FIGURES = (
    Frontier(
        'paper_frontier_latency.png',
        'Accuracy and latency, in the manner of Figure 1',
        "Both axes are the paper's: Tables 3 and 9.",
        "the paper's latency on Pixel 1, ms",
        _latency,
        (5, 10, 20, 30, 50, 80),
    ),
    Frontier(
        'paper_frontier_madds.png',
        'Accuracy and MAdds, in the manner of Figure 2',
        "MAdds are counted here, but for ProxylessNAS; accuracy is the paper's.",
        'MAdds, millions',
        _madds,
        (12, 25, 50, 100, 200, 350),
    ),
)


def _family(arch: str, by_width: bool) -> Iterator[tuple[str, Row]]:
    """Rows of Table 9: one network at all multipliers, or at all resolutions.

    Yields:
        The multiplier, and its row.
    """
    for row in TABLE_9.rows:
        network: Classifier = row.network
        varies = network.side == 224 if by_width else network.width == 1
        # The name leaves out the row of the early version, another network.
        if row.labels[0] == _V3_NAMES[arch] and varies:
            yield f'{network.width:g}', row


def _others() -> Iterator[tuple[str, Row]]:
    """Rows of Table 3 that are not V3."""
    for row in TABLE_3.rows:
        if row.network is None or row.network.arch not in _V3_NAMES:
            yield row.labels[0], row


def _draw_family(axes: Axes, figure: Frontier, arch: str, by_width: bool) -> None:
    named = sorted(_family(arch, by_width), key=lambda item: figure.read(item[1]))
    x = [figure.read(row) for _, row in named]
    y = [float(row.measured[0]) for _, row in named]
    style = (
        dict(marker='o', label=f'{_V3_NAMES[arch]}, multipliers')
        if by_width
        else dict(marker='.', ls='--', lw=1, label=f'{_V3_NAMES[arch]}, 96 to 256 px')
    )
    axes.plot(x, y, color=_V3_COLOURS[arch], **style)
    if not by_width:
        # Resolutions follow one another along their line; their names would hide it.
        return
    side = 'right' if arch == 'small' else 'left'
    for (name, _), *point in zip(named, x, y):
        name_point(axes, name, point, _OFFSETS[arch], _V3_COLOURS[arch], side)


def draw_frontier(figure: Frontier) -> Figure:
    """Draws a figure."""
    canvas = new_figure(8, 5.5)
    axes = canvas.subplots()
    for arch in _V3_NAMES:
        for by_width in (True, False):
            _draw_family(axes, figure, arch, by_width)
    for name, row in _others():
        point = figure.read(row), float(row.measured[0])
        axes.plot(*point, marker='s', ls='', color='tab:gray')
        name_point(axes, name, point, _OFFSETS.get(name, (6, -3)), '0.3')
    axes.set(
        title=figure.title,
        xlabel=figure.axis,
        ylabel="the paper's ImageNet top-1, %",
    )
    use_log_axis(axes, figure.ticks)
    # Names stand right of their points.
    axes.margins(x=0.12)
    axes.legend(loc='lower right')
    return canvas
