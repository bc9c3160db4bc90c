"""Searches a network for a latency: platform-aware NAS (Section 4.1 of the paper).

Example:
    python tools/nas.py configs/ssdlite_mnv3_small_demo.py --target-latency 3.5ms \
        --space v3_small --samples 1000
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
from mmnv3.engine.config import read_config
from mmnv3.files import check_output
from mmnv3.search.configs import Budget, schedule_length
from mmnv3.search.latency.table import Execution
from mmnv3.search.nas.config_search import NASPlan, search_config
from mmnv3.search.nas.proxies import ELASTIC, PROXIES
from mmnv3.search.nas.reward import EXPONENTS, make_reward
from mmnv3.search.nas.search import EVOLUTION, STRATEGIES, NASSettings
from mmnv3.search.nas.space import SPACES
from mmnv3.search.target import add_search_options, parse_latency

# Of training a network that starts from scratch.
_SCRATCH_ITERATIONS = 100


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument(
        'config', type=arguments.config, help='config whose network is searched anew'
    )
    parser.add_argument(
        '--target-latency',
        required=True,
        metavar='LATENCY',
        help='of the whole network, as 3.5ms',
    )
    parser.add_argument(
        '--space', choices=SPACES, default='v3_small', help='skeleton (%(default)s)'
    )
    parser.add_argument(
        '--reward-exponent',
        metavar='W',
        help=f'of latency: {", ".join(EXPONENTS)}, or a number; by default hard with '
        'evolution, which looks at the target only, and with ppo that of the space, '
        '-0.07 of large and -0.15 of small',
    )
    parser.add_argument(
        '--samples',
        type=arguments.count,
        default=100,
        help='networks to try (%(default)s)',
    )
    parser.add_argument(
        '--batch-size',
        type=arguments.count,
        default=10,
        help='networks that are drawn before anything is learnt from them '
        '(%(default)s)',
    )
    parser.add_argument(
        '--strategy',
        choices=STRATEGIES,
        default=EVOLUTION,
        help='what draws networks: evolution, of those only that take 0.9 to 1 of the '
        "target, or a controller that PPO trains, the paper's way (%(default)s)",
    )
    parser.add_argument(
        '--iters',
        type=arguments.count,
        help="of training the elastic network, by default the config's own number, or "
        f'each network from scratch, {_SCRATCH_ITERATIONS}',
    )
    parser.add_argument(
        '--proxy',
        choices=PROXIES,
        default=ELASTIC,
        help='what stands for the accuracy of a network: its share of the weights of '
        'one elastic network, which is trained first, or a short training from '
        "scratch, the paper's way",
    )
    parser.add_argument(
        '--finalists',
        type=arguments.count,
        default=0,
        help="train so many of the best by the config's whole schedule, and keep the "
        'one that comes out best; by default the one that the proxy likes best is kept',
    )
    add_search_options(parser, 'nas_', 'networks')
    return parser


@one_line_errors()
def main(argv: Sequence[str] | None = None) -> None:
    """Parses the arguments, searches, and prints what was found."""
    args = _parser().parse_args(argv)
    work_dir = args.work_dir or Path('work_dirs') / f'nas_{Path(args.config).stem}'
    check_output('--work-dir', work_dir, folder=True)
    check_output('--table', args.table, [args.config])
    exponent = 'hard' if args.strategy == EVOLUTION else args.space.removeprefix('v3_')
    settings = NASSettings(
        make_reward(
            parse_latency(args.target_latency), args.reward_exponent or exponent
        ),
        args.samples,
        args.batch_size,
        args.seed,
        args.strategy,
    )
    config = read_config(args.config, args.cfg_options)
    iterations = args.iters or (
        schedule_length(config) if args.proxy == ELASTIC else _SCRATCH_ITERATIONS
    )
    plan = NASPlan(
        args.space,
        args.table,
        Budget(iterations, held_out=args.held_out, seed=args.seed),
        work_dir,
        args.proxy,
        args.ray,
        args.size and tuple(args.size),
        Execution(args.backend, args.threads, args.precision),
        finalists=args.finalists,
    )
    search_config(config, settings, plan, Console())


if __name__ == '__main__':
    main()
