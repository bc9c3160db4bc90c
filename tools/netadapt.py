"""Cuts a trained network to a latency by NetAdapt (Section 4.2 of the paper).

Example:
    python tools/netadapt.py configs/ssdlite_mnv3_small_demo.py small.pth \
        --target-latency 0.7 --table table.json --delta 0.05
"""

import argparse
import os
from pathlib import Path

# A thread that waits by spinning holds a core that data loading could use.
os.environ.setdefault('OMP_WAIT_POLICY', 'PASSIVE')

from mmengine.config import Config
from rich.console import Console
from rich.table import Table

from mmnv3.engine.build import build_model
from mmnv3.engine.config import read_config
from mmnv3.errors import one_line_errors, only_remarks
from mmnv3.search.latency.table import LatencyTable
from mmnv3.search.netadapt import application
from mmnv3.search.netadapt.comparison import compare_uniform
from mmnv3.search.netadapt.configs import config_rules, config_spec
from mmnv3.search.netadapt.pricing import config_measure, config_price
from mmnv3.search.netadapt.search import run
from mmnv3.search.netadapt.store import Point, Step
from mmnv3.search.netadapt.task import CRITERIA, Search
from mmnv3.search.options import add_search_options
from mmnv3.search.runs import Budget, metric_name
from mmnv3.search.target import parse_latency


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument('config', help='config of the network to cut')
    parser.add_argument('checkpoint', help='its weights')
    parser.add_argument(
        '--target-latency',
        required=True,
        metavar='LATENCY',
        help="a fraction of the network's own, as 0.7, or milliseconds, as 5.2ms",
    )
    parser.add_argument(
        '--table', required=True, metavar='FILE', help='latency table of the machine'
    )
    parser.add_argument(
        '--size',
        type=int,
        nargs=2,
        metavar=('WIDTH', 'HEIGHT'),
        help="of the picture; the config's own by default",
    )
    parser.add_argument(
        '--iters', type=int, default=100, help='of training a proposal (%(default)s)'
    )
    parser.add_argument(
        '--rate',
        type=float,
        default=0.1,
        help="of that training, as a fraction of the config's (%(default)s)",
    )
    parser.add_argument(
        '--delta',
        type=float,
        default=0.01,
        help='what a step cuts at least, as a fraction of the latency (%(default)s)',
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
        action='store_true',
        help='also train the width multiplier that is as fast as what was found, by '
        'measurement where the table is of this machine',
    )
    parser.add_argument(
        '--train-final',
        choices=application.FINAL,
        help='then train what was found, and what it is compared with, by the '
        "config's whole schedule",
    )
    add_search_options(parser, 'netadapt_', 'proposals')
    return parser


def main() -> None:
    """Parses the arguments, searches, and prints what was found."""
    args = _parser().parse_args()
    console = Console()
    only_remarks()
    with one_line_errors():
        config = read_config(args.config, args.cfg_options)
        state = build_model(args.config, args.cfg_options, args.checkpoint).state_dict()
        table = LatencyTable.load(args.table)
        size = args.size and tuple(args.size)
        price = config_price(config, table, size)
        measure = config_measure(config, table, size)
        spec = config_spec(config)
        search = Search(
            seed=spec,
            state=state,
            price=price,
            attempt=application.Trainer(config),
            target=parse_latency(args.target_latency, price(spec)),
            budget=Budget(args.iters, args.rate, args.held_out, args.seed),
            work_dir=args.work_dir
            or Path('work_dirs') / f'netadapt_{Path(args.config).stem}',
            delta=args.delta,
            criterion=args.criterion,
            rules=config_rules(config),
            ray=args.ray,
            report=console.print,
        )
        steps = run(search)
        networks = {steps[-1].winner: application.write_found(config, search, steps)}
        compared = None
        if args.compare_width:
            compared = compare_uniform(search, steps, measure)
            networks[compared] = application.write_uniform(config, search)
        picture = application.plot(config, search, steps, compared)
        _print_way(config, steps, compared, console)
        for point, path in networks.items():
            console.print(
                f'{point.name}: {path} is the config, {path.stem}.pth the weights'
            )
        console.print(f'plot: {picture}')
        for path in networks.values() if args.train_final else ():
            value = application.train_final(path, args.train_final)
            console.print(
                f'{path.stem}, trained by its whole schedule ({args.train_final}): '
                f'{metric_name(config)} {value:.4g} on the validation set'
            )


def _print_way(
    config: Config, steps: list[Step], compared: Point | None, console: Console
) -> None:
    shown = Table('step', 'change', 'latency, ms', f'{metric_name(config)}, held out')
    for number, point in (
        *((str(step.number), step.winner) for step in steps),
        *([('–', compared)] if compared else []),
    ):
        accuracy = '–' if point.accuracy is None else f'{point.accuracy:.4g}'
        shown.add_row(number, point.name, f'{point.latency / 1000:.3f}', accuracy)
    console.print(shown)


if __name__ == '__main__':
    main()
