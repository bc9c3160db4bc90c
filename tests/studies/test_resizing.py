"""Both ways of preparing a picture are timed on the same work."""

import pytest

from studies import resizing


def test_both_ways_are_timed(monkeypatch, capsys) -> None:
    pytest.importorskip('onnxruntime', reason='onnxruntime is not installed')
    monkeypatch.setattr(resizing, '_PICTURES', (resizing.Size(40, 30),))
    resizing.main(['--runs', '2'])
    *_, row = capsys.readouterr().out.strip().splitlines()
    size, outside, inside, _ = (cell.strip() for cell in row.strip('|').split('|'))
    assert size == '40x30' and float(outside) > 0 and float(inside) > 0
