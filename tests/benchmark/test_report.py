"""What a benchmark prints and draws."""

from pathlib import Path

import numpy as np
import pytest

from mmnv3.benchmark.machine import describe_machine
from mmnv3.benchmark.report import Bars, Chart, Report, check_plot, make_table
from mmnv3.errors import UserError


def publish(headers: list[str], rows: list[list[str]]) -> None:
    drawn = Chart('a title', 'ms', ['one'], [Bars('x', np.ones(1), 'red')])
    table = make_table(headers, rows)
    Report([], [table], drawn, describe_machine(1), {}, [], []).publish(None, None)


def test_no_column_of_a_wide_table_is_cut_off(capsys: pytest.CaptureFixture) -> None:
    name = 'torchvision:ssdlite320_mobilenet_v3_large'
    headers = ['model', 'backend', *(f'column {index:02}' for index in range(12))]
    cells = [f'{index}.{index:02}' for index in range(12)]
    publish(headers, [[name, 'onnxruntime int8', *cells]])
    printed = capsys.readouterr().out
    for text in (name, *headers, *cells):
        assert text in printed


def test_a_name_that_is_too_long_is_folded(capsys: pytest.CaptureFixture) -> None:
    publish(['model', 'p50'], [['a' * 60, '1.00']])
    lines = capsys.readouterr().out.splitlines()
    assert [line.count('a') for line in lines if 'aaa' in line] == [44, 16]


def test_a_plot_of_no_kind_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r'must end in \.png, \.svg, \.pdf or \.jpg'):
        check_plot(tmp_path / 'found.gif')
