"""Lists the tools, or runs one: ``python -m mmnv3 train CONFIG``."""

import runpy
import sys
from collections.abc import Sequence

from mmnv3.errors import UserError, one_line_errors
from mmnv3.mim import TOOLS, config_names, nearest, tools


def main(argv: Sequence[str] | None = None) -> None:
    """Runs the tool that the first argument names, with the others."""
    argv = list(sys.argv[1:] if argv is None else argv)
    with one_line_errors():
        known = tools()
        if not argv or argv[0] in ('-h', '--help', '-l', '--list'):
            print(_overview(known))
            return
        tool = argv.pop(0).removesuffix('.py')
        if tool not in known:
            near = nearest(tool, known)
            raise UserError(
                f'{tool}: there is no such tool'
                + (f'; nearest: {near}' if near else '')
                + '; `python -m mmnv3` lists them'
            )
    sys.argv[1:] = argv
    # What is said here would hide behind what the tool says of itself.
    runpy.run_path(str(TOOLS / f'{tool}.py'), run_name='__main__')


def _overview(known: dict[str, str]) -> str:
    width = max(map(len, known))
    return '\n'.join(
        [
            'usage: python -m mmnv3 TOOL [ARGUMENT ...]',
            '',
            *(f'  {tool:{width}}  {line}' for tool, line in known.items()),
            '',
            '`python -m mmnv3 TOOL --help` lists the arguments of one. Configs, which',
            'are named without a folder:',
            '',
            *(f'  {name}' for name in config_names()),
        ]
    )


if __name__ == '__main__':
    main()
