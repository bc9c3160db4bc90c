"""Values of arguments: what is none is refused by argparse, in one line."""

import argparse

import pytest

from mmnv3 import arguments


@pytest.fixture
def parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog='tool')
    for name in ('count', 'threads', 'batch', 'pixels', 'seed', 'number', 'positive'):
        parser.add_argument(f'--{name}', type=getattr(arguments, name))
    for name in ('name', 'path', 'names'):
        parser.add_argument(f'--{name}', type=getattr(arguments, name))
    parser.add_argument('--set', nargs='+', action=arguments.Settings)
    return parser


@pytest.mark.parametrize(
    ('option', 'text', 'said'),
    [
        ('count', '0', '0 is not from 1 to 2147483647'),
        ('count', '-1', '-1 is not from 1 to 2147483647'),
        ('count', '1.5', "'1.5' is no whole number"),
        ('count', '', "'' is no whole number"),
        ('count', '9' * 5000, 'is no whole number'),
        ('count', str(2**31), '2147483648 is not from 1 to 2147483647'),
        ('threads', '10000', '10000 is not from 1 to '),
        ('batch', '0', '0 is not from 1 to 16384'),
        ('pixels', '100000', '100000 is not from 1 to 16384'),
        ('seed', '-1', '-1 is not from 0 to 4294967295'),
        ('seed', str(2**32), 'is not from 0 to 4294967295'),
        ('number', 'nan', "'nan' is no number"),
        ('number', 'inf', "'inf' is no number"),
        ('number', 'x', "'x' is no number"),
        ('positive', '-0.5', '-0.5 is not above 0'),
        ('positive', '0', '0 is not above 0'),
        ('positive', 'nan', "'nan' is no number"),
        ('name', '', "'' is no name"),
        ('name', ' ', "' ' is no name"),
        ('name', 'a\0b', 'is no name'),
        ('path', '', "'' is no name"),
        ('names', 'a,,b', "'' is no name"),
        ('set', 'a', "'a' is not KEY=VALUE"),
        ('set', '=1', "'=1' is not KEY=VALUE"),
        ('set', 'a=[(1,2]', "'a=[(1,2]' is not KEY=VALUE"),
    ],
)
def test_what_is_no_value(option: str, text: str, said: str, parser, capsys) -> None:
    with pytest.raises(SystemExit) as ended:
        parser.parse_args([f'--{option}={text}'])
    assert ended.value.code == 2
    line = capsys.readouterr().err.splitlines()[-1]
    assert line.startswith(f'tool: error: argument --{option}: ') and said in line


def test_values(parser) -> None:
    args = parser.parse_args(
        '--count 1 --threads 64 --seed 0 --number -0.5 --positive 1e-3 --name a '
        '--names a,b --set a.b=1 c=[1,(2,x)] --set c=None d=y=z'.split()
    )
    assert (args.count, args.threads, args.seed) == (1, 64, 0)
    assert (args.number, args.positive) == (-0.5, 0.001)
    assert (args.name, args.names) == ('a', ['a', 'b'])
    assert args.set == {'a.b': 1, 'c': None, 'd': 'y=z'}
