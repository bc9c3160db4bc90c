"""The command-line tools, called in the process of the tests."""

import importlib.util
from collections.abc import Callable
from functools import cache
from pathlib import Path

import mmnv3

TOOLS = Path(mmnv3.__file__).parents[1] / 'tools'
NAMES = tuple(sorted(path.name for path in TOOLS.glob('*.py')))


@cache
def main_of(name: str) -> Callable[[list[str]], None]:
    """The `main` of a tool, such as ``'predict.py'``."""
    spec = importlib.util.spec_from_file_location(name[:-3] + '_tool', TOOLS / name)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.main


def run_tool(name: str, *args: object) -> int:
    """Calls a tool as a shell would; `capsys` has what it prints.

    Returns:
        Its exit status. An error that a shell would see as a traceback is raised.
    """
    try:
        main_of(name)([str(arg) for arg in args])
    except SystemExit as ended:
        return ended.code or 0
    return 0
