"""Walks through ``docs/tutorial.md``: runs its commands and writes what they print.

Example:
    python -m studies.walk   # where data/ has bccd and weights; a quarter of an hour
"""

from __future__ import annotations

import argparse
import os
import re
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

from mmnv3.errors import UserError, end_on_ctrl_c, one_line_errors
from studies.page import writing

PAGE = Path(__file__).parents[1] / 'docs' / 'tutorial.md'

# A command, and what it printed when the page was written.
_STEP = re.compile(r'```bash\n(.*?)```\n(?:\n```text\n.*?```\n)?', re.DOTALL)

# Lines of mmengine's log, which begin with the time.
_LOG = re.compile(r'^\d\d/\d\d [\d:]+ - mmengine - .*\n', re.MULTILINE)


def walk(text: str, folder: Path) -> Iterator[tuple[str, str]]:
    """Runs the commands of a page, one after the other.

    Args:
        text: The page.
        folder: To run them in.

    Yields:
        Each, and what it printed.

    Raises:
        UserError: When one fails.
    """
    # The Python at hand, not another that is called so.
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ['PATH']])
    for step in _STEP.finditer(text):
        done = subprocess.run(
            ['bash', '-euo', 'pipefail', '-c', step[1]],
            cwd=folder,
            env={**os.environ, 'PATH': path},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        if done.returncode:
            raise UserError(
                f'{step[1].strip()} ended with {done.returncode}: {done.stdout[-2000:]}'
            )
        # Which folder it was is nobody's concern.
        yield step[1], _LOG.sub('', done.stdout).replace(f'{folder.resolve()}/', '')


def with_outputs(text: str, outputs: Sequence[str]) -> str:
    """The page with what its commands printed, from the first to the last."""
    printed = iter(outputs)

    def add(step: re.Match) -> str:
        said = next(printed).strip()
        shown = f'\n```text\n{said}\n```\n' if said else ''
        return f'```bash\n{step[1]}```\n{shown}'

    return _STEP.sub(add, text)


@one_line_errors()
def main(argv: Sequence[str] | None = None) -> None:
    """Runs the page in the current folder and writes it anew."""
    argparse.ArgumentParser(
        prog='python -m studies.walk', description=__doc__.splitlines()[0]
    ).parse_args(argv)
    text, outputs = PAGE.read_text(encoding='utf-8'), []
    for command, output in walk(text, Path.cwd()):
        print(command, output, sep='\n')
        outputs.append(output)
    with writing(PAGE) as partial:
        partial.write_text(with_outputs(text, outputs), encoding='utf-8')


if __name__ == '__main__':
    end_on_ctrl_c(__name__)
    main()
