"""Measures the paper's latency studies on this CPU and writes a page about them.

Example:
    python tools/latency_study.py --out docs/latency.md
    python tools/latency_study.py --out docs/latency.md --study 5 --fresh
    python tools/latency_study.py --out docs/latency.md --from docs/latency.json
"""

import argparse
import os
import sys
from pathlib import Path

# The studies stand beside the package, not in it.
sys.path.insert(0, str(Path(__file__).parents[1]))

# A thread that waits by spinning would take its core from the next network's turn.
os.environ.setdefault('OMP_WAIT_POLICY', 'PASSIVE')

from rich.console import Console

from mmnv3.deploy import runtime
from mmnv3.errors import UserError, one_line_errors
from studies.latency.results import Results
from studies.latency.run import (
    BACKENDS,
    RUNS,
    find_studies,
    measure_studies,
    pending_studies,
    prepare_studies,
    print_correlations,
    write_page,
)
from studies.latency.studies import STUDIES


def _names(text: str) -> list[str]:
    return text.split(',')


def main() -> None:
    """Parses the arguments, measures, and writes."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument(
        '--out',
        type=Path,
        required=True,
        metavar='FILE.md',
        help='the page; its plots and its numbers, as JSON, go beside it',
    )
    parser.add_argument(
        '--study',
        type=_names,
        default=[],
        metavar='NAME[,NAME]',
        help=f'{", ".join(STUDIES)}; by default all that were not measured yet',
    )
    parser.add_argument(
        '--backend',
        type=_names,
        default=list(BACKENDS),
        metavar='NAME[,NAME]',
        help=f'{", ".join(runtime.BACKENDS)}; by default all but compile',
    )
    parser.add_argument(
        '--runs',
        type=int,
        default=RUNS,
        help=f'measured calls of each network; {RUNS}, of the largest pictures fewer',
    )
    parser.add_argument(
        '--work-dir',
        type=Path,
        default=Path('work_dirs/latency_study'),
        metavar='FOLDER',
        help='where exported networks are kept; remove it when their code changes',
    )
    parser.add_argument(
        '--fresh', action='store_true', help='measure again what was measured'
    )
    only = parser.add_mutually_exclusive_group()
    only.add_argument(
        '--prepare', action='store_true', help='only export, and measure another time'
    )
    only.add_argument(
        '--from',
        dest='source',
        type=Path,
        metavar='FILE.json',
        help='only write the page, from these numbers',
    )
    args = parser.parse_args()
    console = Console()
    with one_line_errors():
        if args.out.suffix != '.md':
            raise UserError(f'--out {args.out}: the page is Markdown; end it in .md')
        if args.runs < 1:
            raise UserError(f'--runs {args.runs} must be a positive number')
        studies = find_studies(args.study)
        if args.source:
            results = Results.read(args.source)
        else:
            numbers = args.out.with_suffix('.json')
            if not args.fresh:
                studies = pending_studies(studies, args.backend, numbers)
            prepare_studies(studies, args.backend, args.work_dir, console)
            if args.prepare:
                return
            results = measure_studies(
                studies,
                args.backend,
                args.work_dir,
                numbers,
                args.runs,
                console,
            )
        for path in write_page(results, args.out):
            print(path)
        print_correlations(results, console)


if __name__ == '__main__':
    main()
