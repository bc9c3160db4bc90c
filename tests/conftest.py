"""Shared by all tests."""

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

import mmnv3

ROOT = Path(mmnv3.__file__).parents[1]


@pytest.fixture
def run_python(tmp_path: Path) -> Callable[..., str]:
    """Runs code in a fresh interpreter and returns what it prints.

    `first` lists folders to search before all others; the package under test is always
    found, installed or not.
    """

    def run(code: str, first: tuple[Path, ...] = ()) -> str:
        path = os.pathsep.join(map(str, (*first, ROOT)))
        done = subprocess.run(
            [sys.executable, '-W', 'ignore', '-c', code],
            env={**os.environ, 'PYTHONPATH': path},
            cwd=tmp_path,
            capture_output=True,
            text=True,
        )
        assert done.returncode == 0, done.stderr
        return done.stdout.strip()

    return run
