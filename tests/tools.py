"""The command-line tools, called in the process of the tests or in a fork."""

import importlib.util
import multiprocessing
import os
import runpy
import sys
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from multiprocessing.process import BaseProcess
from pathlib import Path

import mmnv3

TOOLS = Path(mmnv3.__file__).parents[1] / 'tools'
NAMES = tuple(sorted(path.name for path in TOOLS.glob('*.py')))

# A process that has imported the toolboxes, which costs 10 s, and does nothing but
# fork. No package that starts threads while it is imported may be among these.
_FORKS = multiprocessing.get_context('forkserver')
_FORKS.set_forkserver_preload(['mmnv3.engine.launch', 'mmseg.apis', 'onnxscript'])


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


@dataclass(frozen=True)
class Completed:
    """What became of a run, as in :class:`subprocess.CompletedProcess`."""

    returncode: int
    stdout: str
    stderr: str


def fork_tool(
    name: str, *args: object, cwd: Path = TOOLS.parent, timeout_s: float = 300
) -> Completed:
    """Runs a tool in a process of its own, as one needs that leaves a Runner behind.

    Args:
        name: The file in ``tools/``.
        args: Its arguments.
        cwd: The folder that it starts in.
        timeout_s: When it is killed.

    Raises:
        TimeoutError: When it was.
    """
    with tempfile.TemporaryDirectory() as folder:
        printed = [Path(folder, stream) for stream in ('stdout', 'stderr')]
        for path in printed:
            path.touch()
        argv = [str(TOOLS / name), *map(str, args)]
        process = fork(_run, argv, printed, cwd)
        process.join(timeout_s)
        if process.exitcode is None:
            process.kill()
            process.join()
            raise TimeoutError(f'{argv} after {timeout_s} s: {printed[1].read_text()}')
        return Completed(process.exitcode, *(path.read_text() for path in printed))


def fork(function: Callable[..., None], *args: object) -> BaseProcess:
    """Starts a function in a process that has imported the toolboxes already."""
    process = _FORKS.Process(target=function, args=args)
    process.start()
    return process


def _run(argv: list[str], printed: list[Path], cwd: Path) -> None:
    """What the forked process does."""
    import torch

    for number, path in enumerate(printed, 1):
        with path.open('wb') as file:
            os.dup2(file.fileno(), number)
    os.chdir(cwd)
    # One thread adds up in one order, and small tests gain nothing from two.
    torch.set_num_threads(1)
    sys.argv = argv
    runpy.run_path(argv[0], run_name='__main__')
