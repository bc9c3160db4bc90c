"""Predictions spread by Ray Data are those of one Predictor."""

from __future__ import annotations

import os
import signal
import threading
import time
from pathlib import Path

import cv2
import numpy as np
import pytest

from mmnv3 import Predictor
from mmnv3.deploy import ray_data
from mmnv3.deploy.ray_data import PredictBatch, predict_on_ray
from mmnv3.deploy.writers import as_json
from mmnv3.errors import Remark, UserError
from tests.deploy.tiny import write_tiny

parquet = pytest.importorskip('pyarrow.parquet', reason='pyarrow is not installed')


def write_pictures(folder: Path, count: int) -> list[Path]:
    folder.mkdir(parents=True, exist_ok=True)
    files = []
    for number in range(count):
        random = np.random.default_rng(number)
        files.append(folder / f'{number:03d}.png')
        cv2.imwrite(str(files[-1]), random.integers(0, 256, (40, 60, 3), np.uint8))
    return files


def read_rows(out: Path) -> list[dict]:
    parts = sorted(out.glob('part-*.parquet'))
    return [row for part in parts for row in parquet.read_table(part).to_pylist()]


@pytest.fixture
def without_ray(monkeypatch) -> list[list[str]]:
    """Batches that would be spread, predicted here."""
    batches: list[list[str]] = []

    def tables(paths, address, workers, settings):
        predict = PredictBatch(**settings)
        for start in range(0, len(paths), ray_data.BATCH):
            batches.append(list(paths[start : start + ray_data.BATCH]))
            yield predict({'path': np.array(batches[-1], object)})

    monkeypatch.setattr(ray_data, '_tables', tables)
    return batches


def expected_rows(model: Path, files: list[Path]) -> list[dict]:
    predict = Predictor(model, threads=1)
    rows = []
    for file in files:
        found = as_json(predict(file))
        for one in found:
            one['box'] = pytest.approx(one['box'], abs=1e-4)
            one['score'] = pytest.approx(one['score'], abs=1e-6)
            one['share'] = None
        rows.append(found)
    return rows


def test_results_are_those_of_a_predictor(tmp_path, without_ray) -> None:
    files = write_pictures(tmp_path / 'in', 20)
    model = write_tiny(tmp_path, 'onnx')
    out = tmp_path / 'out'
    assert predict_on_ray([str(tmp_path / 'in')], out, model=str(model)) == 20
    rows = read_rows(out)
    assert [row['path'] for row in rows] == list(map(str, files))
    assert [row['found'] for row in rows] == expected_rows(model, files)
    assert {(row['width'], row['height']) for row in rows} == {(60, 40)}
    assert all(row['mask'] is None and row['error'] is None for row in rows)
    assert any(row['found'] for row in rows)


def test_a_folder_of_results_is_gone_on_with(
    tmp_path, without_ray, monkeypatch
) -> None:
    monkeypatch.setattr(ray_data, '_ROWS', 16)
    files = write_pictures(tmp_path / 'in', 40)
    model = str(write_tiny(tmp_path, 'onnx'))
    out = tmp_path / 'out'

    class Killed(Exception):
        pass

    inner = ray_data._tables

    def stopped(*args):
        for number, table in enumerate(inner(*args)):
            if number == 2:
                raise Killed
            yield table

    monkeypatch.setattr(ray_data, '_tables', stopped)
    with pytest.raises(Killed):
        predict_on_ray([str(tmp_path / 'in')], out, model=model)
    assert len(read_rows(out)) == 32
    monkeypatch.setattr(ray_data, '_tables', inner)
    without_ray.clear()
    assert predict_on_ray([str(tmp_path / 'in')], out, model=model) == 8
    assert [path for batch in without_ray for path in batch] == list(
        map(str, files[32:])
    )
    assert [row['path'] for row in read_rows(out)] == list(map(str, files))
    assert predict_on_ray([str(tmp_path / 'in')], out, model=model) == 0
    with pytest.raises(
        UserError, match='results of another model or of other settings'
    ):
        predict_on_ray([str(tmp_path / 'in')], out, model=model, score_thr=0.5)
    (out / 'part-00001.parquet').write_bytes(b'PAR1')
    with pytest.raises(UserError, match=r'part-00001.parquet cannot be read .* remove'):
        predict_on_ray([str(tmp_path / 'in')], out, model=model)


def test_what_cannot_be_read_is_named_and_tried_again(tmp_path, without_ray) -> None:
    files = write_pictures(tmp_path / 'in', 2)
    model = str(write_tiny(tmp_path, 'onnx'))
    missing = str(tmp_path / 'missing.png')
    lists = tmp_path / 'pictures.txt'
    memory = 'memory://folder/a.png'
    lists.write_text(f'{files[0]}\n{memory}\n\n{missing}\n')
    import fsspec

    with fsspec.open(memory, 'wb') as file:
        file.write(files[1].read_bytes())
    out = tmp_path / 'out'
    with pytest.warns(Remark, match=r'1 of 3 files skipped: .*missing.png'):
        assert predict_on_ray([str(lists)], out, model=model) == 2
    assert (out / 'failed.csv').read_text().splitlines()[1].startswith(missing)
    assert [row['path'] for row in read_rows(out)] == [str(files[0]), memory]
    Path(missing).write_bytes(files[1].read_bytes())
    assert predict_on_ray([str(lists)], out, model=model) == 1
    assert not (out / 'failed.csv').exists() and len(read_rows(out)) == 3
    # Of a folder of an address, what is in it.
    assert list(ray_data._expand(['memory://folder'])) == ['memory:///folder/a.png']


@pytest.mark.parametrize(
    'source, message',
    [('empty', 'has no pictures'), ('nowhere://a/b', 'cannot be opened')],
)
def test_sources_without_pictures_are_told(tmp_path, source, message) -> None:
    (tmp_path / 'empty').mkdir()
    given = str(tmp_path / source) if source == 'empty' else source
    with pytest.raises(UserError, match=message):
        predict_on_ray(
            [given], tmp_path / 'out', model=str(write_tiny(tmp_path, 'onnx'))
        )


@pytest.mark.slow  # It starts Ray.
def test_two_workers_one_of_them_killed(tmp_path) -> None:
    pytest.importorskip('ray.data', reason='Ray Data is not installed')
    files = write_pictures(tmp_path / 'in', 200)
    model = write_tiny(tmp_path, 'onnx')
    killed = []

    def kill_one() -> None:
        deadline = time.monotonic() + 120
        while not killed and time.monotonic() < deadline:
            for folder in Path('/proc').iterdir():
                if folder.name.isdigit():
                    try:
                        line = (folder / 'cmdline').read_bytes()
                    except OSError:
                        continue
                    if b'MapWorker' in line and b'PredictBatch' in line:
                        os.kill(int(folder.name), signal.SIGKILL)
                        killed.append(folder.name)
                        return
            time.sleep(0.01)

    thread = threading.Thread(target=kill_one)
    thread.start()
    out = tmp_path / 'out'
    try:
        count = predict_on_ray([str(tmp_path / 'in')], out, workers=2, model=str(model))
    finally:
        thread.join()
        import ray

        ray.shutdown()
    assert killed
    assert count == 200
    rows = sorted(read_rows(out), key=lambda row: row['path'])
    assert [row['path'] for row in rows] == list(map(str, files))
    assert [row['found'] for row in rows] == expected_rows(model, files)
