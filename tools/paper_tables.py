"""Shows the paper's tables beside the counts of this package's networks.

Example:
    python tools/paper_tables.py --table 7
    python tools/paper_tables.py --out docs/paper_tables.md
"""

import argparse
import sys
from pathlib import Path

# The studies stand beside the package, not in it.
sys.path.insert(0, str(Path(__file__).parents[1]))

from mmnv3.engine.launch import one_line_errors
from mmnv3.errors import UserError
from studies.paper import TABLES, render_page, render_table, write_tables


def main() -> None:
    """Parses the arguments, counts, and prints or writes."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument(
        '--table',
        action='append',
        metavar='1..9',
        help='a table to print; may be repeated; by default the whole page',
    )
    parser.add_argument(
        '--out',
        type=Path,
        metavar='FILE',
        help='write the whole page there, and its figures beside it, in place of '
        'printing',
    )
    args = parser.parse_args()
    with one_line_errors():
        unknown = set(args.table or ()) - set(map(str, TABLES))
        if unknown:
            raise UserError(
                f'--table {min(unknown)}: the paper has no such table of networks; '
                f'possible: {min(TABLES)} to {max(TABLES)}'
            )
        tables = [TABLES[int(number)] for number in args.table or ()]
        if args.out and tables:
            raise UserError('--out writes the whole page; leave out --table')
        if args.out:
            for path in write_tables(args.out):
                print(path)
        elif tables:
            print('\n'.join(map(render_table, tables)), end='')
        else:
            print(render_page(), end='')


if __name__ == '__main__':
    main()
