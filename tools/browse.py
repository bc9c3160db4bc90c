"""Draws what the training pipeline of a config feeds its network.

Example:
    python tools/browse.py configs/ssdlite_mnv3_small_demo.py --out pictures
"""

import argparse
from collections.abc import Sequence
from pathlib import Path

from mmnv3.errors import end_on_ctrl_c, one_line_errors

end_on_ctrl_c(__name__)

from mmnv3 import arguments
from mmnv3.own_data.browse import browse


@one_line_errors()
def main(argv: Sequence[str] | None = None) -> None:
    """Parses the arguments, and draws."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument(
        'config', type=arguments.config, help='config, a file or the name of ours'
    )
    parser.add_argument(
        '--out',
        type=arguments.path,
        metavar='FOLDER',
        help='for the pictures; by default browse/ in the work directory',
    )
    parser.add_argument(
        '--number', type=arguments.count, default=16, help='of pictures; 16'
    )
    args = parser.parse_args(argv)
    out = args.out or Path('work_dirs') / Path(args.config).stem / 'browse'
    written = browse(args.config, out, args.number)
    print(f'{len(written)} pictures in {out}')


if __name__ == '__main__':
    main()
