"""The page of times is what was measured, and cases are measured one by one."""

import json
from pathlib import Path

import pytest

from mmnv3.benchmark.machine import describe_machine
from studies import speed


def row(model: str, backend: str, precision: str, ms: float) -> dict:
    return dict(
        model=model,
        backend=backend,
        precision=precision,
        stages_ms=dict(pre=dict(p50=0.5), network=dict(p50=ms - 0.5)),
        whole_ms=dict(p50=ms),
        to_the_first=ms / 40,
    )


MEASURED = dict(
    machine=describe_machine(1),
    settings=dict(runs=5),
    rows=[
        row('torchvision:a', 'pytorch', 'fp32', 40),
        row('b.py', 'openvino', 'fp32', 8),
        row('b.py', 'onnxruntime', 'fp32', 7),
        row('b.py', 'openvino', 'int8', 4),
    ],
)


def test_the_page_has_the_rows_in_their_order(tmp_path, capsys) -> None:
    numbers, out = tmp_path / 'speed.json', tmp_path / 'new' / 'speed.md'
    numbers.write_text(json.dumps(dict(street=MEASURED)))
    speed.main(['--out', str(out), '--from', str(numbers)])
    text = out.read_text()
    lines = [line for line in text.splitlines() if line.startswith('|')][2:]
    found = [[cell.strip() for cell in line.split('|')[1:-1]] for line in lines]
    assert found == [
        ['torchvision’s', 'pytorch', 'fp32', '0.5', '39.5', '40.0', '1.000'],
        ['ours', 'openvino', 'int8', '0.5', '3.5', '4.0', '0.100'],
        ['ours', 'onnxruntime', 'fp32', '0.5', '6.5', '7.0', '0.175'],
        ['ours', 'openvino', 'fp32', '0.5', '7.5', '8.0', '0.200'],
    ]
    told = ' '.join(text.split())
    assert 'fastest in float is onnxruntime in fp32, at 0.175 of torch' in told
    assert 'fastest in 8 bits is openvino in int8, at 0.100 of torch' in told


def test_a_case_is_measured_beside_what_was(tmp_path: Path, monkeypatch) -> None:
    out = tmp_path / 'speed.md'
    kept = out.with_suffix('.json')
    kept.write_text(json.dumps(dict(street=MEASURED)))
    asked: list[tuple] = []

    def measure(requests, backends, precisions, runs, json_path, plot_path) -> None:
        asked.append(([r.size for r in requests], backends, precisions, plot_path))
        rows = [dict(row, runs_ms={}) for row in MEASURED['rows']]
        json_path.write_text(json.dumps(dict(MEASURED, rows=rows)))

    monkeypatch.setattr(speed, 'benchmark_latency', measure)
    speed.main(['--out', str(out), '--case', 'segmenter', '--backend', 'pytorch'])
    assert asked == [([(640, 480)] * 2, ['pytorch'], ['all'], None)]
    assert json.loads(kept.read_text()) == dict(street=MEASURED, segmenter=MEASURED)
    assert out.read_text().count('## LR-ASPP-Large at') == 2


@pytest.mark.parametrize(
    ('arguments', 'message'),
    [
        (['--case', 'cat'], '--case cat is unknown; possible: detector, segmenter, st'),
        (['--from', 'other.json'], 'other.json is not what this study wrote'),
    ],
)
def test_what_cannot_be_is_one_line(
    arguments, message, tmp_path, capsys, monkeypatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path('other.json').write_text('{"cat": 1}')
    with pytest.raises(SystemExit) as stop:
        speed.main(['--out', 'a.md', *arguments])
    assert stop.value.code == 2 and message in capsys.readouterr().err
