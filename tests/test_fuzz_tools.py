"""Nonsense on command lines: every tool ends with a line, and leaves nothing behind."""

import random
import re
from collections.abc import Callable
from functools import cache
from pathlib import Path

import pytest

from tests.tools import NAMES, main_of, run_tool

# What stands where a value is expected: numbers out of range, names of nothing, of
# folders, devices and other files, and what terminals, formats and markup make of text.
VALUES = (
    *('', ' ', '-', '--', '-1', '0', '1', '2', '0.5', 'nan', '-inf', '1e999', '9' * 30),
    *('gone', 'gone/new.json', 'folder', 'file.jpg', 'file.json', 'file.onnx', 'loop'),
    *('/dev/null', '/proc/self/mem', '/dev/full', '.', '..', 'fifo', 'link.pkl'),
    *('a=b', '=', 'a.0.b=[1', 'model=', 'all', 'none', 'onnx', 'int8', '1ms', '-1ms'),
    *(
        '9' * 400 + 'ms',
        'n' * 300,
        '%s%n',
        '[bold]',
        '[/]',
        'a\nb',
        '\udcff',
        '🎈',
        'é',
    ),
    *(
        '--out=gone.pkl',
        '--help-me',
        '@file.json',
        '~',
        '$HOME',
        "'",
        'torchvision:gone',
    ),
)
CONFIGS = {
    'empty.py': '',
    'itself.py': "_base_ = 'itself.py'",
    'half.py': 'x = (',
    'raises.py': 'model = dict(type=1 / 0)',
    'number.py': 'model = 3',
    'zeros.py': '\0\0',
    'list.json': '[1]',
    'half.yaml': 'model: [',
}
NO_CONFIG = (*CONFIGS, 'gone.py', 'folder', 'file.jpg', '/dev/null', '', '\udcff.py')
# By its first arguments no tool can do what it is for, whatever follows: nothing is
# trained, measured or exported here.
HOPELESS = {
    'benchmark.py': [NO_CONFIG],
    'browse.py': [NO_CONFIG],
    'convert_checkpoint.py': [('file.jpg', 'gone', 'folder', ''), ['--out'], VALUES],
    'demo_data.py': [['--train'], '12', ['--val'], '1', ['--size'], ('64', *VALUES)],
    'export.py': [NO_CONFIG, VALUES, ['--format'], ('onnx', 'litert', *VALUES)],
    'init_config.py': [
        ('gone', 'folder', 'file.jpg', ''), ['--task'], ('detection', *VALUES),
        ['--out'], ('new.py', *VALUES),
    ],
    'latency_study.py': [['--from'], ('file.json', 'gone'), ['--out'], VALUES],
    'latency_table.py': [NO_CONFIG, ('--out', '--check'), VALUES],
    'nas.py': [NO_CONFIG, ['--table'], VALUES, ['--target-latency'], VALUES],
    'netadapt.py': [
        NO_CONFIG, VALUES, ['--table'], VALUES, ['--target-latency'], VALUES,
    ],
    'paper_tables.py': [['--table'], ('77', 'x', '-1')],
    'predict.py': [(*NO_CONFIG, 'file.onnx'), VALUES],
    'test.py': [NO_CONFIG, VALUES],
    'train.py': [NO_CONFIG],
    'web.py': [('gone', 'folder', 'file.jpg', 'loop', '')],
}  # fmt: skip


@cache
def options_of(name: str) -> list[str]:
    """The options that a tool's help names."""
    texts: list[str] = []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr('argparse.ArgumentParser._print_message', _keep(texts))
        assert run_tool(name, '--help') == 0
    options = set(re.findall(r'(?<![\w-])--[a-z][\w-]+', texts[0])) - {'--help'}
    assert options
    return sorted(options)


def _keep(texts: list[str]) -> Callable[..., None]:
    return lambda _, message, *rest: texts.append(message)


def nonsense(name: str, rng: random.Random) -> list[str]:
    """Arguments of a tool that it can do nothing with, or little."""
    args = [rng.choice(choices) for choices in HOPELESS[name]]
    for _ in range(rng.randrange(4)):
        option = rng.choice(options_of(name))
        values = rng.choices(VALUES, k=rng.choice((0, 1, 1, 1, 2, 2)))
        place = rng.choice((0, len(args)))
        args[place:place] = [option, *values]
    return args


def files(folder: Path) -> dict[str, object]:
    return {
        str(path): path.read_bytes() if path.is_file() else path.lstat().st_mode
        for path in folder.rglob('*')
    }


def try_nonsense(
    name: str, seeds: range, folder: Path, capsys: pytest.CaptureFixture
) -> None:
    """Calls a tool with nonsense; what it raises names the arguments."""
    for seed in seeds:
        args = nonsense(name, random.Random(f'{name}{seed}'))
        before = files(folder)
        try:
            status = run_tool(name, *args)
        except Exception as error:
            raise AssertionError(f'a traceback of {name} {args}') from error
        told = capsys.readouterr().err
        assert status in (0, 2), (args, status)
        if status:
            assert 'error: ' in told, (args, told)
            assert 'Traceback' not in told, (args, told)
            assert files(folder) == before, args


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The current folder, with files of nonsense."""
    monkeypatch.chdir(tmp_path)
    for name, text in CONFIGS.items():
        Path(name).write_text(text)
    for name in ('file.jpg', 'file.json', 'file.onnx'):
        Path(name).write_bytes(random.Random(name).randbytes(99))
    Path('folder').mkdir()
    Path('loop').symlink_to('loop')
    Path('link.pkl').symlink_to('file.jpg')
    return tmp_path


@pytest.mark.parametrize('name', NAMES)
def test_nonsense(name: str, folder: Path, capsys) -> None:
    try_nonsense(name, range(20), folder, capsys)


@pytest.mark.slow  # 300 calls of each tool: five minutes.
@pytest.mark.parametrize('name', NAMES)
def test_much_nonsense(name: str, folder: Path, capsys) -> None:
    try_nonsense(name, range(20, 320), folder, capsys)


def test_all_tools_are_tried() -> None:
    assert set(NAMES) == set(HOPELESS)
    assert all(callable(main_of(name)) for name in NAMES)
