"""How fast are a detector and a segmenter here, by every backend and precision?

Each case is what ``tools/benchmark.py`` measures: its models take turns in one process,
torchvision's eager one first, which the others are compared with.

Example:
    python -m studies.speed --out docs/speed_table.md
    python -m studies.speed --out docs/speed_table.md --case detector
    python -m studies.speed --out docs/speed_table.md --from docs/speed_table.json

What was measured stands beside the page as JSON, where a run leaves other cases alone.
"""

from __future__ import annotations

import argparse
import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

# A thread that waits by spinning would take its core from the next model's turn.
os.environ.setdefault('OMP_WAIT_POLICY', 'PASSIVE')

from mmnv3 import arguments
from mmnv3.benchmark.latency import benchmark_latency
from mmnv3.benchmark.machine import machine_line
from mmnv3.benchmark.timed_model import STAGES, TORCHVISION, Request
from mmnv3.deploy.runtime import BACKENDS
from mmnv3.errors import UserError, one_line_errors
from mmnv3.files import check_output
from mmnv3.json_files import read_json
from studies.page import markdown_table, wrap_text, writing


@dataclass(frozen=True)
class Case:
    """What is timed together.

    Attributes:
        title: Of its table.
        models: What the others are compared with comes first.
        size: Of the input, (width, height); the models' own for None.
        runs: Measured calls of each.
    """

    title: str
    models: tuple[str, ...]
    size: tuple[int, int] | None
    runs: int


_SEGMENTERS = (
    f'{TORCHVISION}lraspp_mobilenet_v3_large',
    'configs/lraspp_mnv3_large_cityscapes.py',
)
CASES = {
    'detector': Case(
        'SSDLite-Large at 320×320, of a picture of 640×480',
        (
            f'{TORCHVISION}ssdlite320_mobilenet_v3_large',
            'configs/ssdlite_mnv3_large_coco.py',
        ),
        None,
        50,
    ),
    'segmenter': Case('LR-ASPP-Large at 640×480', _SEGMENTERS, (640, 480), 20),
    'street': Case('LR-ASPP-Large at 2048×1024', _SEGMENTERS, (2048, 1024), 5),
}
# Compiling takes minutes for each.
_BACKENDS = [name for name in BACKENDS if name != 'compile']
_NUMBERS = {'fp32', 'bf16', 'fp16'}


def measure_case(case: Case, backends: Sequence[str], plot: Path | None) -> dict:
    """Times a case.

    Args:
        case: The case.
        backends: Of :data:`mmnv3.deploy.runtime.BACKENDS`; with ``'pytorch'``.
        plot: Picture for a bar chart.

    Returns:
        What ``tools/benchmark.py --json`` writes, but for the times of single runs.
    """
    with TemporaryDirectory(prefix='mmnv3-') as folder:
        path = Path(folder) / 'found.json'
        benchmark_latency(
            [Request(model, size=case.size) for model in case.models],
            backends,
            ['all'],
            case.runs,
            path,
            plot,
        )
        found = json.loads(path.read_text(encoding='utf-8'))
    for row in found['rows']:
        del row['runs_ms']
    return found


def case_text(case: Case, found: Mapping[str, Any]) -> str:
    """A case's part of the page."""
    rows = found['rows']
    stages = [name for name in STAGES if any(name in row['stages_ms'] for row in rows)]
    first, *others = rows
    cells = [
        [
            'torchvision’s' if row['model'].startswith(TORCHVISION) else 'ours',
            row['backend'],
            row['precision'],
            *(
                f'{row["stages_ms"][stage]["p50"]:.1f}'
                if stage in row['stages_ms']
                else ''
                for stage in stages
            ),
            f'{row["whole_ms"]["p50"]:.1f}',
            f'{row["to_the_first"]:.3f}',
        ]
        for row in (first, *sorted(others, key=lambda row: row['to_the_first']))
    ]
    header = ['model', 'backend', 'precision', *stages, 'whole', 'ratio']
    best = {
        name: min(
            (row for row in others if (row['precision'] in _NUMBERS) is is_float),
            key=lambda row: row['to_the_first'],
            default=None,
        )
        for name, is_float in (('float', True), ('8 bits', False))
    }
    told = '; '.join(
        f'the fastest in {name} is {row["backend"]} in {row["precision"]}, at '
        f'{row["to_the_first"]:.3f} of torchvision’s time'
        for name, row in best.items()
        if row
    )
    told = f'{told[:1].upper()}{told[1:]}. ' if told else ''
    told += f'{machine_line(found["machine"])}; {found["settings"]["runs"]} runs.'
    return f'## {case.title}\n\n{markdown_table(header, cells)}\n{wrap_text(told)}'


def page_text(results: Mapping[str, Any]) -> str:
    """The page.

    Args:
        results: What :func:`measure_case` returns, by the names of :data:`CASES`.
    """
    parts = [
        '# Speed by backend and precision\n',
        wrap_text(
            'Milliseconds from a picture in memory to boxes or classes, medians, with '
            'random weights; int8 is calibrated on noise, which is good for its time. '
            'All models of a table take turns in one process, so that other work on '
            'the machine meets them alike: the ratios, to torchvision’s eager model on '
            'the same picture, count more than the milliseconds. Written by'
        ),
        '```bash\npython -m studies.speed --out docs/speed_table.md\n```\n',
        wrap_text(
            'For another model or another machine, `python -m mmnv3 benchmark CONFIG '
            '--backend all --precision all` prints the same table; '
            '[Speed](speed.md) says more.'
        ),
    ]
    parts += [
        case_text(CASES[name], results[name]) for name in CASES if name in results
    ]
    return '\n'.join(parts)


def _read(path: Path) -> dict[str, Any]:
    results = read_json(path)
    if not isinstance(results, dict) or not set(results) <= set(CASES):
        raise UserError(f'{path} is not what this study wrote; leave it out')
    return results


@one_line_errors()
def main(argv: Sequence[str] | None = None) -> None:
    """Parses the arguments, measures, and writes."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument(
        '--out',
        type=arguments.path,
        required=True,
        metavar='FILE.md',
        help='the page; its numbers, as JSON, and the detector’s chart go beside it',
    )
    parser.add_argument(
        '--case',
        type=arguments.names,
        default=list(CASES),
        metavar='NAME[,NAME]',
        help=f'{", ".join(CASES)}; by default all',
    )
    parser.add_argument(
        '--backend',
        type=arguments.names,
        default=_BACKENDS,
        metavar='NAME[,NAME]',
        help=f'{", ".join(BACKENDS)}; by default all but compile',
    )
    parser.add_argument(
        '--from',
        dest='source',
        type=arguments.path,
        metavar='FILE.json',
        help='only write the page, from these numbers',
    )
    args = parser.parse_args(argv)
    if unknown := set(args.case) - set(CASES):
        raise UserError(
            f'--case {min(unknown)} is unknown; possible: {", ".join(CASES)}'
        )
    kept = args.out.with_suffix('.json')
    for path in (args.out, kept, args.out.with_suffix('.png')):
        check_output('--out', path, [args.source] if path == args.out else [])
    if args.source:
        results = _read(args.source)
    else:
        results = _read(kept) if kept.is_file() else {}
        for name in args.case:
            plot = args.out.with_suffix('.png') if name == 'detector' else None
            results[name] = measure_case(CASES[name], args.backend, plot)
            with writing(kept) as partial:
                partial.write_text(json.dumps(results, indent=1), encoding='utf-8')
    with writing(args.out) as partial:
        partial.write_text(page_text(results), encoding='utf-8')
    print(args.out)


if __name__ == '__main__':
    main()
