"""The command-line options that both searches have."""

from __future__ import annotations

import argparse
from pathlib import Path

from mmengine.config import DictAction

from mmnv3.search.pool import HERE


def add_search_options(
    parser: argparse.ArgumentParser, prefix: str, trained: str
) -> None:
    """Adds what holds out data, seeds, keeps, spreads and overrides.

    Args:
        parser: Of the tool.
        prefix: Of its work directories' names.
        trained: What it trains, in the plural.
    """
    parser.add_argument(
        '--held-out',
        type=float,
        default=0.2,
        help='fraction of the training set to score on (%(default)s)',
    )
    parser.add_argument('--seed', type=int, default=0, help='of everything random')
    parser.add_argument(
        '--work-dir',
        type=Path,
        help='where everything goes and an interrupted search continues; by default '
        f'work_dirs/{prefix} and the name of the config',
    )
    parser.add_argument(
        '--ray',
        nargs='?',
        const=HERE,
        metavar='ADDRESS',
        help=f'train {trained} side by side: here, or on the Ray cluster at an address',
    )
    parser.add_argument(
        '--cfg-options',
        nargs='+',
        action=DictAction,
        metavar='KEY=VALUE',
        help='override settings of the config',
    )
