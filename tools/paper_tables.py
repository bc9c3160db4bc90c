"""Shows the paper's tables beside the counts of this package's networks.

Example:
    python tools/paper_tables.py --table 7
    python tools/paper_tables.py --out docs/paper_tables.md
"""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

# The studies stand beside the package, not in it, and wheels have neither.
sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from mmnv3.errors import UserError, end_on_ctrl_c, one_line_errors

end_on_ctrl_c(__name__)

from mmnv3 import arguments
from mmnv3.files import check_output
from studies.paper.page import render_page, render_tables, write_page


@one_line_errors()
def main(argv: Sequence[str] | None = None) -> None:
    """Parses the arguments, counts, and prints or writes."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument(
        '--table',
        action='append',
        type=arguments.name,
        metavar='1..9',
        help='a table to print; may be repeated; by default the whole page',
    )
    parser.add_argument(
        '--out',
        type=arguments.path,
        metavar='FILE',
        help='write the whole page there, and its figures beside it, in place of '
        'printing',
    )
    args = parser.parse_args(argv)
    if args.out and args.table:
        raise UserError('--out writes the whole page; leave out --table')
    check_output('--out', args.out)
    if args.out:
        print(*write_page(args.out), sep='\n')
    else:
        text = render_tables(args.table) if args.table else render_page()
        print(text, end='')


if __name__ == '__main__':
    main()
