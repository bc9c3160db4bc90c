"""What the tools print of an error that a person can mend."""

import subprocess
import sys
from pathlib import Path

import pytest
from mmengine.registry import Registry

from mmnv3.errors import UserError, one_line_errors

ROOT = Path(__file__).parents[1]


def printed(error: Exception, capsys: pytest.CaptureFixture) -> str:
    """What a tool prints that fails so."""
    with pytest.raises(SystemExit) as ended, one_line_errors():
        raise error
    assert ended.value.code == 2
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
}  # fmt: skip


@pytest.mark.slow
@pytest.mark.parametrize('name', sorted(p.name for p in (ROOT / 'tools').glob('*.py')))
def test_every_tool_ends_so(name: str, tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, ROOT / 'tools' / name, *WRONG[name]],
        cwd=tmp_path,
        env={'PYTHONPATH': str(ROOT), 'OMP_NUM_THREADS': '1', 'HOME': str(tmp_path)},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 2, done.stderr
    assert done.stderr.strip().splitlines()[-1].startswith('error: ')
    assert 'Traceback' not in done.stderr
