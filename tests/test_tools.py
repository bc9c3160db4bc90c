"""What all command-line tools do with outputs and arguments, before any work."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests.tools import NAMES, TOOLS, run_tool

CONFIG = TOOLS.parent / 'configs' / 'ssdlite_mnv3_small_demo.py'

# What stands for an output is given as OUT.
OUTPUTS = {
    'predict.py --json': ['model.onnx', 'a.jpg', '--json', 'OUT'],
    'convert_checkpoint.py --out': ['model.pth', '--config', CONFIG, '--out', 'OUT'],
    'export.py --out': [CONFIG, 'model.pth', '--format', 'onnx', '--out', 'OUT'],
    'benchmark.py --json': [CONFIG, '--checkpoint', 'model.pth', '--json', 'OUT'],
    'benchmark.py --plot': [CONFIG, '--image', 'a.jpg', '--plot', 'OUT'],
    'latency_table.py --out': [CONFIG, 'model.py', '--out', 'OUT'],
    'latency_table.py --plot': [CONFIG, '--check', 'table.json', '--plot', 'OUT'],
    'latency_study.py --out': ['--from', 'table.json', '--out', 'OUT'],
    'init_config.py --out': ['folder', '--task', 'detection', '--out', 'OUT'],
    'paper_tables.py --out': ['--out', 'OUT'],
    'test.py --out': [CONFIG, 'model.pth', '--out', 'OUT', '--work-dir', 'new'],
}
FOLDERS = {
    'predict.py --out': ['model.onnx', 'a.jpg', '--out', 'OUT'],
    'browse.py --out': [CONFIG, '--out', 'OUT'],
    'export.py --out web': [CONFIG, 'model.pth', '--format', 'web', '--out', 'OUT'],
    'demo_data.py --out': ['--out', 'OUT'],
    'train.py --work-dir': [CONFIG, '--work-dir', 'OUT'],
    'test.py --work-dir': [CONFIG, 'model.pth', '--work-dir', 'OUT'],
    'nas.py --work-dir': [
        CONFIG, '--table', 'table.json', '--target-latency', '1ms',
        '--work-dir', 'OUT',
    ],
    'netadapt.py --work-dir': [
        CONFIG, 'model.pth', '--table', 'table.json', '--target-latency', '1ms',
        '--work-dir', 'OUT',
    ],
}  # fmt: skip
# An input of each, and an output that has none.
INPUTS = {
    'predict.py --json': ['a.jpg', 'model.onnx'],
    'convert_checkpoint.py --out': ['model.pth', CONFIG],
    'export.py --out': [CONFIG],
    'benchmark.py --json': ['model.pth'],
    'benchmark.py --plot': ['a.jpg', CONFIG],
    'latency_table.py --out': ['model.py'],
    'latency_table.py --plot': ['table.json'],
    'test.py --out': ['model.pth'],
}


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The current folder, with files that nobody may change."""
    monkeypatch.chdir(tmp_path)
    for name in ('a.jpg', 'model.onnx', 'model.pth', 'model.py', 'table.json'):
        Path(name).write_text(name)
    Path('link').symlink_to('model.onnx')
    return tmp_path


def refused(name: str, out: object, capsys: pytest.CaptureFixture) -> str:
    """The last line of a tool that refuses an output; it writes nothing."""
    before = contents(Path())
    args = {**OUTPUTS, **FOLDERS}[name]
    status = run_tool(name.split()[0], *(out if arg == 'OUT' else arg for arg in args))
    line = capsys.readouterr().err.splitlines()[-1]
    assert status == 2 and line.startswith('error: '), line
    assert contents(Path()) == before
    return line


def contents(folder: Path) -> dict[Path, str]:
    return {path: path.read_text() for path in folder.rglob('*') if path.is_file()}


@pytest.mark.parametrize('name', INPUTS)
def test_no_input_is_overwritten(name: str, folder: Path, capsys) -> None:
    before = CONFIG.read_text()
    for given in INPUTS[name]:
        line = refused(name, given, capsys)
        assert f'{name.split()[1]} {given} would overwrite {given}' in line
    assert CONFIG.read_text() == before


@pytest.mark.parametrize('name', OUTPUTS)
def test_a_file_goes_to_a_file(name: str, folder: Path, capsys) -> None:
    Path('x.md').mkdir()
    for place, kind in (('/dev/null', 'device'), ('.', 'folder'), ('x.md', 'folder')):
        if place.endswith('.md') or not name.startswith('latency_study'):
            line = refused(name, place, capsys)
            assert f'{name.split()[1]} {place} is a {kind}; name a file' in line


@pytest.mark.parametrize('name', FOLDERS)
def test_a_folder_goes_to_a_folder(name: str, folder: Path, capsys) -> None:
    for place in ('a.jpg', '/dev/null'):
        line = refused(name, place, capsys)
        if name != 'demo_data.py --out':  # Which says what the folder should hold.
            assert f'{name.split()[1]} {place} is no folder' in line


@pytest.mark.parametrize('name', [*OUTPUTS, *FOLDERS])
def test_places_that_may_only_be_read(
    name: str, folder: Path, small_disk: Path, remount, capsys
) -> None:
    remount('ro')
    line = refused(name, small_disk / 'new.md', capsys)
    assert 'Read-only file system' in line and str(small_disk) in line


@pytest.mark.parametrize('name', NAMES)
def test_ctrl_c_ends_what_is_still_importing(name: str, tmp_path: Path) -> None:
    """NumPy stands for what every tool imports first of what takes long."""
    (tmp_path / 'numpy.py').write_text(
        'import os, signal\n'
        'try:\n'
        '    os.kill(os.getpid(), signal.SIGINT)\n'
        '    for _ in range(1000): pass\n'
        'except BaseException:\n'
        "    raise ImportError('it is broken')\n"
    )
    done = subprocess.run(
        [sys.executable, TOOLS / name],
        env={**os.environ, 'PYTHONPATH': f'{tmp_path}:{TOOLS.parent}'},
        capture_output=True,
        text=True,
        # Shells let it be ignored by what they run in the background.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )
    assert (done.returncode, done.stderr) == (130, 'interrupted\n')
