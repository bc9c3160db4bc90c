"""Shared by all tests."""

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

import mmnv3

ROOT = Path(mmnv3.__file__).parents[1]


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Names what one of several processes runs: a file, or a folder of one fixture.

    The tests of exported files share what they export, and would wait for each other.
    """
    for item in items:
        path = item.path.relative_to(ROOT)
        group = 'deploy' if 'deploy' in path.parts else str(path)
        item.add_marker(pytest.mark.xdist_group(group))


@pytest.fixture(scope='session')
def shared_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of all processes of a run, for what costs seconds to make."""
    own = tmp_path_factory.getbasetemp()
    return own.parent if 'PYTEST_XDIST_WORKER' in os.environ else own


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


def _mount(*args: str | Path) -> None:
    done = subprocess.run(['mount', *args], capture_output=True, text=True)
    if done.returncode:
        pytest.skip(f'no disk can be mounted here: {done.stderr.strip()}')


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A disk of 64 KiB, which is soon full."""
    place = tmp_path / 'disk'
    place.mkdir()
    _mount('-t', 'tmpfs', '-o', 'size=64k', 'none', place)
    yield place
    subprocess.run(['umount', '--lazy', place], check=True)


@pytest.fixture
def remount(small_disk: Path) -> Callable[[str], None]:
    """Changes how the small disk is mounted: ``'ro'`` makes it read-only."""
    return lambda how: _mount('-o', f'remount,{how}', small_disk)
