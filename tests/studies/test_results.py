"""README's results: what is read, kept, resumed and shown."""

import json
import subprocess
from pathlib import Path

import pytest

from mmnv3.errors import UserError
from studies import results
from studies.results import ROWS, Measured, Metrics, Results, render, with_table

REMEDY = 'run `python -m studies.results --write`'


@pytest.mark.parametrize('path', results.PAGES, ids=lambda path: path.name)
def test_the_pages_are_those_of_the_record(path: Path) -> None:
    text = path.read_text('utf-8')
    assert with_table(text, render(Results.read(), results.PAGES[path])) == text, REMEDY


def test_every_row_is_in_the_record() -> None:
    read = json.loads(results.RECORD.read_text('utf-8'))['rows']
    assert [row['key'] for row in read] == [row.key for row in ROWS]
    assert all(row['measured'] and row['commands'] for row in read)
    assert len(render(Results.read(), False).splitlines()) == 12


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with a record and pages of its own, in which nothing is run."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(results, 'RECORD', tmp_path / 'results.json')
    page = tmp_path / 'page.md'
    page.write_text('a\n<!-- results: -->\nold\n<!-- end of results -->\nz\n')
    monkeypatch.setattr(results, 'PAGES', {page: True})
    # Defaults are those of the module.
    monkeypatch.setattr(
        Results.read.__func__, '__defaults__', (tmp_path / 'results.json',)
    )
    monkeypatch.setattr(Results.write, '__defaults__', (tmp_path / 'results.json',))
    return tmp_path


def scalars(folder: Path, *lines: dict) -> None:
    folder.mkdir(parents=True)
    text = ''.join(json.dumps(line) + '\n' for line in lines)
    (folder / 'scalars.json').write_text(text)


def test_the_last_validation_is_read(tmp_path: Path) -> None:
    read = Metrics({'AP': 'coco/bbox_mAP'})
    with pytest.raises(UserError, match='has no coco/bbox_mAP'):
        read(tmp_path)
    scalars(
        tmp_path / '20260101_000000/vis_data',
        {'coco/bbox_mAP': 0.1},
        {'coco/bbox_mAP': 0.2},
        {'loss': 3.0},
    )
    assert read(tmp_path) == {'AP': 0.2}
    # A run that was resumed after its last validation.
    scalars(tmp_path / '20260102_000000/vis_data', {'loss': 1.0})
    assert read(tmp_path) == {'AP': 0.2}
    # A test's are beside that folder.
    scalars(tmp_path / '20260103_000000', {'coco/bbox_mAP': 0.3})
    assert read(tmp_path) == {'AP': 0.3}


def test_the_fastest_of_each_kind_is_read(tmp_path: Path) -> None:
    rows = [
        dict(model=model, precision=precision, whole_ms=dict(p50=ms))
        for model, precision, ms in (
            ('ssdlite', 'fp32', 9.0),
            ('ssdlite', 'fp32', 8.0),
            ('ssdlite', 'int8', 5.0),
            ('ssdlite', 'fp16', 1.0),
            ('torchvision:x', 'fp32', 4.0),
            ('torchvision:x', 'bf16', 3.0),
        )
    ]
    (tmp_path / 'speed.json').write_text(json.dumps(dict(rows=rows)))
    found = results.fastest_ms(tmp_path)
    assert found == {'32 bits': 8.0, '8 bits': 5.0, "torchvision's": 4.0}
    rows.append(dict(model='ssdlite', precision='bf16', whole_ms=dict(p50=6.0)))
    (tmp_path / 'speed.json').write_text(json.dumps(dict(rows=rows)))
    assert results.fastest_ms(tmp_path)['bfloat16'] == 6.0


def test_a_row_is_measured_once_for_each_machine(here, monkeypatch, capsys) -> None:
    row = next(row for row in ROWS if row.key == 'demo_detector')
    folder, run = here / 'work_dirs/results/demo_detector', []

    def measured(command: list[str]) -> subprocess.CompletedProcess:
        run.append(command[1:4])
        if command[3] == 'train':
            metrics = dict.fromkeys(row.read.names.values(), 0.5)
            scalars(folder / f'{len(run)}/vis_data', metrics)
        return subprocess.CompletedProcess(command, 0)

    monkeypatch.setattr(subprocess, 'run', measured)
    monkeypatch.setattr(results, 'ROWS', (row,))
    results.main([])
    assert [tool for *_, tool in run] == ['demo_data', 'train']
    (found,) = Results.read().rows[row.key]
    assert found.values == {'AP': 0.5, 'AP50': 0.5} and found.seconds is not None
    text = (here / 'page.md').read_text()
    assert 'AP 0.500, AP50 0.500' in text and found.machine in text
    assert text.startswith('a\n') and text.endswith('z\n') and 'old' not in text
    results.main([])
    assert len(run) == 2
    # Asked for by its key it is measured anew; what is finished is not resumed.
    results.main([row.key])
    (found,) = Results.read().rows[row.key]
    assert len(run) == 4 and found.seconds is not None
    assert [path.parent.name for path in folder.glob('*/vis_data')] == ['4']
    # What was interrupted is, and its time is unknown.
    (folder / 'measured').unlink()
    results.main([row.key])
    (found,) = Results.read().rows[row.key]
    assert len(run) == 6 and found.seconds is None
    assert len(list(folder.glob('*/vis_data'))) == 2
    monkeypatch.setattr(results, 'machine_line', lambda machine: 'another')
    results.main([])
    assert [one.machine for one in Results.read().rows[row.key]][1:] == ['another']


def test_two_runs_beside_each_other_keep_both_rows(here, monkeypatch) -> None:
    mine, other = ROWS[:2]

    def measured(command: list[str]) -> subprocess.CompletedProcess:
        if command[3] == 'train':
            metrics = dict.fromkeys(mine.read.names.values(), 0.5)
            scalars(here / f'work_dirs/results/{mine.key}/1/vis_data', metrics)
            found = Results.read()
            found.add(other, Measured({'mIoU': 70.0}, 'm'))
            found.write()
        return subprocess.CompletedProcess(command, 0)

    monkeypatch.setattr(subprocess, 'run', measured)
    results.main([mine.key])
    assert all(Results.read().rows[row.key] for row in (mine, other))


def test_what_fails_or_is_missing(here, monkeypatch, capsys) -> None:
    failed = subprocess.CompletedProcess([], 2)
    monkeypatch.setattr(subprocess, 'run', lambda command: failed)
    for key, said in (
        ('bccd', 'bccd is left out: there is no data/bccd'),
        ('speed', 'error: speed ended with 2; mend what it says'),
        ('gone', 'there is no row gone'),
    ):
        try:
            results.main([key])
        except SystemExit as ended:
            assert ended.code == 2
        assert said in ''.join(capsys.readouterr())
    assert not results.RECORD.exists()


def test_numbers_are_told_as_they_are_known() -> None:
    row = ROWS[0]
    found = Measured({'AP': 0.5371, 'AP50': 0.79}, 'm', seconds=258.4)
    assert found.told(row) == 'AP 0.537, AP50 0.790'
    assert found.told_time() == '4 min 18 s'
    assert Measured({'mIoU': 55.61}, 'm').told(ROWS[1]) == 'mIoU 55.6'
    speed = next(row for row in ROWS if row.unit == 'ms')
    assert Measured({'8 bits': 0.84}, 'm').told(speed) == '8 bits 0.8 ms'
