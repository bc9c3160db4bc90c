"""Cuts a trained network to a latency by NetAdapt (Section 4.2 of the paper).

Example:
    python tools/netadapt.py configs/ssdlite_mnv3_small_demo.py small.pth \
        --target-latency 0.7
"""

import argparse
import os
from collections.abc import Sequence
from pathlib import Path

# A thread that waits by spinning holds a core that data loading could use.
os.environ.setdefault('OMP_WAIT_POLICY', 'PASSIVE')

from mmnv3.errors import end_on_ctrl_c, one_line_errors

end_on_ctrl_c(__name__)

from rich.console import Console

from mmnv3 import arguments
from mmnv3.engine.build import build_model
from mmnv3.files import check_output
from mmnv3.search.configs import Budget, schedule_length
from mmnv3.search.latency.table import Execution
from mmnv3.search.netadapt.config_search import NetAdaptPlan, adapt_config
from mmnv3.search.netadapt.outputs import FINAL
from mmnv3.search.netadapt.search import CRITERIA
from mmnv3.search.target import add_search_options

# Of training a proposal: at least so many, and a part of the config's own.
_LEAST_ITERATIONS, _ITERATIONS_SHARE = 40, 20


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument(
        'config', type=arguments.config, help='config of the network to cut'
    )
    parser.add_argument('checkpoint', type=arguments.name, help='its weights')
    parser.add_argument(
        '--target-latency',
        required=True,
        metavar='LATENCY',
        help="a fraction of the network's own, as 0.7, or milliseconds, as 5.2ms",
    )
    parser.add_argument(
        '--iters',
        type=arguments.count,
        help="of training a proposal; by default a twentieth of the config's own, and "
        f'{_LEAST_ITERATIONS} at least',
    )
    parser.add_argument(
        '--rate',
        type=arguments.positive,
        default=0.1,
        help="of that training, as a fraction of the config's (%(default)s)",
    )
    parser.add_argument(
        '--delta',
        type=arguments.positive,
        help='what a step cuts at least, as a fraction of the latency; by default a '
        "tenth of what is cut in all, and at least the paper's 0.01",
    )
    parser.add_argument(
        '--criterion',
        choices=CRITERIA,
        default='ratio',
        help='what the best proposal has most of: accuracy won by latency cut, or '
        "the original NetAdapt's accuracy",
    )
    parser.add_argument(
        '--compare-width',
        action=argparse.BooleanOptionalAction,
        default=True,
        help='also train the width multiplier that is as fast as what was found, by '
        'measurement where the table is of this machine',
    )
    parser.add_argument(
        '--train-final',
        choices=FINAL,
        help='then train what was found, and what it is compared with, by the '
        "config's whole schedule",
    )
    parser.add_argument(
        '--distill',
        action='store_true',
        help='let the seed teach proposals, the multiplier and what is trained at last',
    )
    add_search_options(parser, 'netadapt_', 'proposals')
    return parser


@one_line_errors()
def main(argv: Sequence[str] | None = None) -> None:
    """Parses the arguments, searches, and prints what was found."""
    args = _parser().parse_args(argv)
    work_dir = args.work_dir or Path('work_dirs') / f'netadapt_{Path(args.config).stem}'
    check_output('--work-dir', work_dir, folder=True)
    model = build_model(args.config, args.cfg_options, args.checkpoint)
    iterations = args.iters or max(
        _LEAST_ITERATIONS, schedule_length(model.cfg) // _ITERATIONS_SHARE
    )
    plan = NetAdaptPlan(
        args.table,
        args.target_latency,
        Budget(iterations, args.rate, args.held_out, args.seed),
        work_dir,
        args.size and tuple(args.size),
        args.delta,
        args.criterion,
        args.compare_width,
        args.train_final,
        args.distill,
        args.ray,
        Execution(args.backend, args.threads, args.precision),
    )
    adapt_config(model, plan, Console())


if __name__ == '__main__':
    main()
