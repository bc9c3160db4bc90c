"""Measures the paper's latency studies on this CPU and writes a page about them.

Example:
    python tools/latency_study.py --out docs/latency.md
    python tools/latency_study.py --out docs/latency.md --study 5 --fresh
    python tools/latency_study.py --out docs/latency.md --from docs/latency.json
"""

import argparse
import os
import sys
from collections.abc import Sequence
from pathlib import Path

# The studies stand beside the package, not in it, and wheels have neither.
sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

# A thread that waits by spinning would take its core from the next network's turn.
os.environ.setdefault('OMP_WAIT_POLICY', 'PASSIVE')

from mmnv3.errors import UserError, end_on_ctrl_c, one_line_errors

end_on_ctrl_c(__name__)

from mmnv3 import arguments
from mmnv3.deploy.runtime import BACKENDS
from mmnv3.files import check_output
from studies.latency.measure import DEFAULT_BACKENDS, DEFAULT_RUNS, measure_studies
from studies.latency.page import correlation_lines, write_page
from studies.latency.results import read_results
from studies.latency.studies import STUDIES, find_studies


@one_line_errors()
def main(argv: Sequence[str] | None = None) -> None:
    """Parses the arguments, measures, and writes."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument(
        '--out',
        type=arguments.path,
        required=True,
        metavar='FILE.md',
        help='the page; its plots and its numbers, as JSON, go beside it',
    )
    parser.add_argument(
        '--study',
        type=arguments.names,
        default=[],
        metavar='NAME[,NAME]',
        help=f'{", ".join(STUDIES)}; by default all that were not measured yet',
    )
    parser.add_argument(
        '--backend',
        type=arguments.names,
        default=list(DEFAULT_BACKENDS),
        metavar='NAME[,NAME]',
        help=f'{", ".join(BACKENDS)}; by default all but compile',
    )
    parser.add_argument(
        '--runs',
        type=arguments.count,
        default=DEFAULT_RUNS,
        help=f'measured calls of each network; {DEFAULT_RUNS}, of the largest pictures '
        'fewer',
    )
    parser.add_argument(
        '--work-dir',
        type=arguments.path,
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
        type=arguments.path,
        metavar='FILE.json',
        help='only write the page, from these numbers',
    )
    args = parser.parse_args(argv)
    if args.out.suffix != '.md':
        raise UserError(f'--out {args.out}: the page is Markdown; end it in .md')
    check_output('--out', args.out, [args.source])
    studies = find_studies(args.study)
    if args.source:
        results = read_results(args.source)
    else:
        check_output('--out', args.out.with_suffix('.json'))
        check_output('--work-dir', args.work_dir, folder=True)
        results = measure_studies(
            studies,
            args.backend,
            args.work_dir,
            args.out.with_suffix('.json'),
            args.runs,
            args.fresh,
            only_export=args.prepare,
        )
    if not args.prepare:
        print(*write_page(results, args.out), sep='\n')
        print(*correlation_lines(results), sep='\n')


if __name__ == '__main__':
    main()
