"""What both searches are asked for on a command line, a latency first of all."""

from __future__ import annotations

import argparse
import math
import re
from collections.abc import Callable

from mmnv3 import arguments
from mmnv3.arch import NetSpec
from mmnv3.deploy.info import PRECISIONS
from mmnv3.deploy.runtime import BACKENDS
from mmnv3.errors import UserError
from mmnv3.ray_cluster import HERE

# Microseconds of a network in the place of a config's.
Price = Callable[[NetSpec], float]

_MICROSECONDS = {'us': 1, 'µs': 1, 'ms': 1e3, 's': 1e6}


def parse_latency(text: str, own: float | None = None) -> float:
    """Reads a latency such as ``'3.5ms'``, or as ``'0.7'`` of a network's own.

    Args:
        text: A number and ``us``, ``ms`` or ``s``; or a number alone.
        own: Microseconds that a number alone is a fraction of; None where there is no
            such network.

    Returns:
        Microseconds.

    Raises:
        UserError: When it is none, or not positive.
    """
    found = re.fullmatch(r'\s*(\d+\.?\d*|\.\d+)\s*(us|µs|ms|s)?\s*', text)
    value = 0.0
    if found:
        unit = _MICROSECONDS[found[2]] if found[2] else own
        value = float(found[1]) * (unit or 0)
    if not 0 < value < math.inf:
        also = '' if own is None else ", or a fraction of the seed's, as 0.7"
        raise UserError(
            f'--target-latency {text!r} is no latency; give a positive number and its '
            f'unit, as 3.5ms{also}'
        )
    return value


def ms(latency_us: float) -> str:
    """Microseconds as a person reads them: ``1.71 ms``."""
    return f'{latency_us / 1000:.3g} ms'


def add_search_options(
    parser: argparse.ArgumentParser, prefix: str, trained: str
) -> None:
    """Adds what prices, holds out data, seeds, keeps, spreads and overrides.

    Args:
        parser: Of the tool.
        prefix: Of its work directories' names.
        trained: What it trains, in the plural.
    """
    parser.add_argument(
        '--table',
        type=arguments.path,
        metavar='FILE',
        help='latency table, by tools/latency_table.py; by default one of this machine '
        'is kept, and what it lacks is measured first',
    )
    add_execution_options(parser)
    parser.add_argument(
        '--size',
        type=arguments.pixels,
        nargs=2,
        metavar=('WIDTH', 'HEIGHT'),
        help="of the picture that is priced; the config's own by default",
    )
    parser.add_argument(
        '--held-out',
        type=arguments.number,
        default=0.2,
        help='fraction of the training set to score on (%(default)s)',
    )
    parser.add_argument(
        '--seed', type=arguments.seed, default=0, help='of everything random'
    )
    parser.add_argument(
        '--work-dir',
        type=arguments.path,
        help='where everything goes and an interrupted search continues; by default '
        f'work_dirs/{prefix} and the name of the config',
    )
    add_ray_option(parser, trained)
    parser.add_argument(
        '--cfg-options',
        nargs='+',
        action=arguments.Settings,
        metavar='KEY=VALUE',
        help='override settings of the config',
    )


def add_ray_option(parser: argparse.ArgumentParser, trained: str) -> None:
    """Adds ``--ray``, as :func:`mmnv3.search.pool.run_jobs` takes it.

    Args:
        parser: The parser.
        trained: What is spread by it.
    """
    parser.add_argument(
        '--ray',
        type=arguments.name,
        nargs='?',
        const=HERE,
        metavar='ADDRESS',
        help=f'train {trained} side by side: here, or on the Ray cluster at an address',
    )


def add_execution_options(parser: argparse.ArgumentParser) -> None:
    """Adds what :class:`mmnv3.search.latency.table.Execution` says."""
    parser.add_argument(
        '--backend',
        default='onnxruntime',
        help=f'that runs the networks: {", ".join(BACKENDS)} (%(default)s)',
    )
    parser.add_argument(
        '--threads', type=arguments.threads, default=1, help='of one call (%(default)s)'
    )
    parser.add_argument(
        '--precision',
        choices=PRECISIONS,
        default='fp32',
        help='that they are run in, as export writes it (%(default)s)',
    )
