"""What the tools print of an error that a person can mend."""

import errno
import os
import subprocess
import sys
import warnings
from pathlib import Path

import numpy as np
import pytest
import torch
from mmengine.registry import Registry

from mmnv3.errors import Remark, UserError, one_line_errors
from tests.tools import NAMES, run_tool


def printed(
    error: BaseException, capsys: pytest.CaptureFixture, status: int = 2
) -> str:
    """What a tool prints that fails so."""
    with pytest.raises(SystemExit) as ended, one_line_errors():
        raise error
    assert ended.value.code == status
    return capsys.readouterr().err


def test_a_line_and_status_2(capsys) -> None:
    assert printed(UserError('a.pth: damaged'), capsys) == 'error: a.pth: damaged\n'


def test_other_errors_keep_their_traceback() -> None:
    with pytest.raises(ValueError, match='a fault'), one_line_errors():
        raise ValueError('a fault')
    with pytest.raises(KeyError), one_line_errors():
        try:
            raise UserError('mended')
        except UserError:
            raise KeyError('while mending') from None


def test_a_data_loading_process_passes_a_traceback_on(capsys) -> None:
    text = (
        'Caught UserError in DataLoader worker process 0.\n'
        'Original Traceback (most recent call last):\n'
        '  File "a.py", line 3, in b\n'
        'mmnv3.errors.UserError: a.jpg: the picture is truncated\n'
    )
    line = 'error: a.jpg: the picture is truncated\n'
    assert printed(UserError(text), capsys) == line


@pytest.mark.parametrize('kind', [UserError, RuntimeError])
def test_a_registry_may_put_a_name_before_the_line(kind: type, capsys) -> None:
    # As mmengine did until 0.8.
    with pytest.raises(SystemExit), one_line_errors():
        try:
            raise UserError('width=-1 must be positive')
        except UserError as error:
            raise kind(f'class `Net` in net.py: {error}')  # noqa: B904
    assert capsys.readouterr().err == 'error: width=-1 must be positive\n'


def test_the_registry_that_is_installed(capsys) -> None:
    registry = Registry('nets')

    @registry.register_module()
    class Net:
        def __init__(self) -> None:
            raise UserError('width=-1 must be positive')

    with pytest.raises(SystemExit), one_line_errors():
        registry.build(dict(type='Net'))
    assert capsys.readouterr().err == 'error: width=-1 must be positive\n'


def test_words_that_we_put_before_a_line_stay(capsys) -> None:
    with pytest.raises(SystemExit), one_line_errors():
        try:
            raise UserError('3 keys are missing')
        except UserError as error:
            raise UserError(f'a.pth: {error}') from None
    assert capsys.readouterr().err == 'error: a.pth: 3 keys are missing\n'


WRONG = {
    'browse.py': ['gone.py'],
    'init_config.py': ['gone', '--task', 'detection', '--out', 'mine.py'],
    'train.py': ['gone.py'],
    'test.py': ['gone.py', 'gone.pth'],
    'export.py': ['gone.py', 'gone.pth', '--format', 'onnx'],
    'predict.py': ['gone.onnx', 'gone.jpg'],
    'benchmark.py': ['gone.py'],
    'convert_checkpoint.py': ['gone.pth', '--out', 'out.pth'],
    'demo_data.py': ['--out', 'out', '--size', '1'],
    'latency_table.py': ['gone.py', '--out', 'table.json'],
    'latency_study.py': ['--out', 'page.txt'],
    'nas.py': ['gone.py', '--table', 'gone.json', '--target-latency', '1ms'],
    'netadapt.py': [
        'gone.py', 'gone.pth', '--table', 'gone.json', '--target-latency', '1ms',
    ],
    'paper_tables.py': ['--table', '77'],
    'web.py': ['gone'],
}  # fmt: skip


@pytest.mark.parametrize('name', NAMES)
def test_every_tool_ends_so(name: str, tmp_path: Path, monkeypatch, capsys) -> None:
    monkeypatch.chdir(tmp_path)
    assert run_tool(name, *WRONG[name]) == 2
    assert capsys.readouterr().err.splitlines()[-1].startswith('error: ')
    assert not list(tmp_path.iterdir())


def fails(path: Path | str, mode: str = 'w') -> OSError:
    """The error that Python itself makes of a place."""
    with pytest.raises(OSError) as found, open(path, mode) as file:
        file.write('text')
    return found.value


def test_what_the_system_refuses(tmp_path: Path, capsys) -> None:
    assert printed(fails(tmp_path), capsys) == f'error: {tmp_path}: Is a directory\n'
    gone = tmp_path / 'gone'
    line = f'error: {gone}: No such file or directory\n'
    assert printed(fails(gone, 'r'), capsys) == line
    full = printed(fails('/dev/full'), capsys)
    assert full.startswith('error: No space left on device; make room')
    both = OSError(errno.EXDEV, os.strerror(errno.EXDEV), 'a', None, 'b')
    assert printed(both, capsys) == 'error: a → b: Invalid cross-device link\n'
    assert printed(OSError('libx.so: not found\nat all'), capsys) == (
        'error: libx.so: not found\n'
    )


def test_what_the_system_refuses_a_data_loading_process(tmp_path: Path, capsys) -> None:
    class Full(torch.utils.data.Dataset):
        def __len__(self) -> int:
            return 1

        def __getitem__(self, index: int) -> None:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), 'a.tmp')

    with pytest.raises(SystemExit) as ended, one_line_errors():
        list(torch.utils.data.DataLoader(Full(), num_workers=1))
    assert ended.value.code == 2
    line = capsys.readouterr().err
    assert line.startswith("error: No space left on device: 'a.tmp'; make room")


@pytest.mark.parametrize(
    ('part', 'said'),
    [
        (dict(type='Nat'), 'Nat is not in the tests::net registry'),
        (dict(kind='Net'), 'must contain the key "type"'),
        (dict(type='Net', width=3), "got an unexpected keyword argument 'width'"),
        (dict(type='Net'), "missing 1 required positional argument: 'depth'"),
    ],
)
def test_parts_of_a_config_that_nothing_is_built_of(part, said, capsys) -> None:
    registry = Registry('net')

    @registry.register_module()
    class Net:
        def __init__(self, depth: int) -> None:
            raise KeyError('a fault of the class')

    with pytest.raises(SystemExit), one_line_errors():
        registry.build(part)
    line = capsys.readouterr().err
    assert line.startswith('error: the config cannot be built: ') and said in line
    assert line.count('\n') == 1
    with pytest.raises(KeyError, match='a fault of the class'), one_line_errors():
        registry.build(dict(type='Net', depth=3))


def test_a_lack_of_memory(capsys) -> None:
    for make in (
        lambda: np.empty(1 << 60, np.uint8),
        lambda: torch.empty(1 << 60, dtype=torch.uint8),
        lambda: bytearray(1 << 62),
    ):
        with pytest.raises(SystemExit) as ended, one_line_errors():
            make()
        assert ended.value.code == 2
        line = capsys.readouterr().err
        assert line.startswith('error: there is not enough memory; a smaller batch')
        assert line.count('\n') == 1


def test_ctrl_c(capsys) -> None:
    assert printed(KeyboardInterrupt(), capsys, 130) == 'interrupted\n'
    # What fails while the program stops is not what a person wants to read.
    with pytest.raises(SystemExit) as ended, one_line_errors():
        try:
            raise KeyboardInterrupt
        finally:
            raise RuntimeError('the process group is gone')
    assert ended.value.code == 130
    assert capsys.readouterr().err == 'interrupted\n'


def test_remarks_are_said_once_and_other_warnings_not(capsys) -> None:
    before = warnings.showwarning, list(warnings.filters)
    for _ in range(2):
        with one_line_errors():
            for _ in range(2):
                warnings.warn(Remark('2 files skipped'), stacklevel=1)
                warnings.warn('deprecated', DeprecationWarning, stacklevel=1)
                warnings.warn('overflow', RuntimeWarning, stacklevel=1)
        assert capsys.readouterr().err == 'warning: 2 files skipped\n'
    assert (warnings.showwarning, warnings.filters) == before


PRINT, HELP = "print('a table')", "argparse.ArgumentParser().parse_args(['-h'])"
# Somebody's reader tells what it does, and takes every OSError for the file's.
READ = (
    'try:\n'
    "        print('reading', flush=True)\n"
    '    except OSError:\n'
    "        raise UserError('no table') from None\n"
)
UNREAD = 141  # 128 and the number of SIGPIPE.


@pytest.mark.parametrize(
    ('place', 'says', 'status'),
    [
        ('closed', PRINT, UNREAD),
        ('closed', HELP, UNREAD),
        ('closed', READ, UNREAD),
        ('closed', "rich.console.Console().print('a table')", UNREAD),
        ('closed', "raise UserError('no table')", 2),
        ('closed', 'argparse.ArgumentParser().error("no table")', 2),
        ('/dev/full', PRINT, 2),
        ('/dev/full', HELP, 2),
    ],
)
def test_an_output_that_nobody_takes(place: str, says: str, status: int) -> None:
    code = (
        'import argparse\n'
        'import rich.console\n'
        'from mmnv3.errors import UserError, one_line_errors\n'
        'with one_line_errors():\n'
        f'    {says}\n'
    )
    read, write = os.pipe()
    os.close(read)
    target = write if place == 'closed' else os.open(place, os.O_WRONLY)
    # Of what is not buffered argparse tells no error.
    env = {key: value for key, value in os.environ.items() if key != 'PYTHONUNBUFFERED'}
    done = subprocess.run(
        [sys.executable, '-c', code],
        stdout=target,
        stderr=subprocess.PIPE,
        env=env,
        text=True,
    )
    os.close(write)
    assert done.returncode == status
    if status == UNREAD:
        assert not done.stderr
    else:
        assert 'error: ' in done.stderr.splitlines()[-1]


def test_another_pipe_that_breaks_is_an_error(capsys) -> None:
    error = BrokenPipeError(errno.EPIPE, os.strerror(errno.EPIPE))
    assert printed(error, capsys) == 'error: Broken pipe\n'
