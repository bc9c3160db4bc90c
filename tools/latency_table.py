"""Measures what layers cost on this machine, for the searches, or checks it.

Example:
    python tools/latency_table.py configs/mnv3_small_imagenet.py \
        --backend onnxruntime --out table.json
    python tools/latency_table.py configs/mnv3_small_imagenet.py \
        --check table.json --specs 20 --plot latency_table.png
"""

import argparse
import os
from collections.abc import Sequence

# A thread that waits by spinning would take its core from the next layer's turn.
os.environ.setdefault('OMP_WAIT_POLICY', 'PASSIVE')

from mmnv3.errors import end_on_ctrl_c, one_line_errors

end_on_ctrl_c(__name__)

from mmnv3 import arguments
from mmnv3.files import check_output
from mmnv3.search.latency.check import check_configs
from mmnv3.search.latency.measuring import measure_configs
from mmnv3.search.latency.table import Execution
from mmnv3.search.target import add_execution_options
from mmnv3.size import Size


@one_line_errors()
def main(argv: Sequence[str] | None = None) -> None:
    """Parses the arguments, and measures or checks."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument(
        'configs',
        type=arguments.config,
        nargs='+',
        metavar='CONFIG',
        help='whose layers are measured, and those that a search makes of them',
    )
    add_execution_options(parser)
    action = parser.add_mutually_exclusive_group(required=True)
    action.add_argument(
        '--out',
        type=arguments.path,
        metavar='FILE',
        help='table to write, or to go on with',
    )
    action.add_argument(
        '--check',
        type=arguments.path,
        metavar='FILE',
        help='table to check by whole networks, random variants of the configs',
    )
    parser.add_argument(
        '--size',
        type=arguments.pixels,
        nargs=2,
        metavar=('W', 'H'),
        help="pixels of the picture; by default each config's own",
    )
    parser.add_argument(
        '--runs', type=arguments.count, help='measured calls of each layer or network'
    )
    parser.add_argument(
        '--no-grid',
        action='store_true',
        help='only the layers of the configs as they are, not those of a search',
    )
    parser.add_argument(
        '--specs',
        type=arguments.count,
        default=20,
        help='networks of --check for each config; 20',
    )
    parser.add_argument(
        '--seed', type=arguments.seed, default=0, help='of the random networks'
    )
    parser.add_argument(
        '--plot',
        type=arguments.path,
        metavar='FILE.png',
        help='plot of what --check found',
    )
    args = parser.parse_args(argv)
    check_output('--out', args.out, args.configs)
    check_output('--plot', args.plot, [*args.configs, args.check])
    size = Size(*args.size) if args.size else None
    if args.check:
        check_configs(
            args.configs,
            args.check,
            size,
            args.specs,
            args.seed,
            args.runs,
            args.plot,
        )
    else:
        measure_configs(
            args.configs,
            Execution(args.backend, args.threads, args.precision),
            args.out,
            size,
            args.runs,
            grid=not args.no_grid,
        )


if __name__ == '__main__':
    main()
