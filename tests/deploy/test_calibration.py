"""Pictures to calibrate on."""

from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest

from mmnv3.deploy.calibration import noise_batches, read_batches
from mmnv3.deploy.info import ModelInfo
from mmnv3.deploy.pipeline import prepare_picture
from mmnv3.errors import UserError
from mmnv3.tasks import DETECTION

INFO = ModelInfo(
    task=DETECTION,
    classes=('a',),
    input_shape=(1, 3, 8, 12),
    mean=(1, 2, 3),
    std=(4, 5, 6),
    channel_order='rgb',
)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Ten grey pictures of growing brightness in subfolders, and other files."""
    for index in range(10):
        path = tmp_path / str(index % 2) / f'{index}.png'
        path.parent.mkdir(exist_ok=True)
        cv2.imwrite(str(path), np.full((20, 30, 3), 10 * index, np.uint8))
    (tmp_path / 'notes.txt').write_text('hello')
    (tmp_path / '0' / 'cut.png').write_bytes(b'\x89PNG')
    return tmp_path


def test_pictures_are_prepared_as_for_the_model(folder: Path) -> None:
    batches = read_batches(folder, INFO)
    assert [batch.shape for batch in batches] == [(1, 3, 8, 12)] * 10
    expected = {
        value: prepare_picture(np.full((20, 30, 3), value, np.uint8), INFO)
        for value in range(0, 100, 10)
    }
    assert sorted(float(batch[0, 0, 0, 0]) for batch in batches) == sorted(
        float(prepared[0, 0, 0]) for prepared in expected.values()
    )
    # Hand-worked: red is the first plane, (90 - 1) / 4.
    assert max(float(batch.max()) for batch in batches) == pytest.approx(22.25)


def test_batches_are_full(folder: Path) -> None:
    batches = read_batches(folder, replace(INFO, input_shape=(4, 3, 8, 12)))
    assert [batch.shape for batch in batches] == [(4, 3, 8, 12)] * 2


def test_a_sample_is_spread_over_the_folder(folder: Path, monkeypatch) -> None:
    monkeypatch.setattr('mmnv3.deploy.calibration._PICTURES', 4)
    monkeypatch.setattr('mmnv3.deploy.calibration._LEAST', 4)
    batches = read_batches(folder, INFO)
    reds = [round(float(batch[0, 0, 0, 0]) * 4 + 1) for batch in batches]
    # Every third of 0 2 4 6 8 cut 1 3 5 7 9 notes.
    assert reds == [0, 60, 10, 70]
    (folder / '0' / '6.png').write_bytes(b'')
    batches = read_batches(folder, INFO)
    assert round(float(batches[-1][0, 0, 0, 0]) * 4 + 1) == 20


def test_too_few_pictures_are_told(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError, match='gone: there is no such folder'):
        read_batches(tmp_path / 'gone', INFO)
    with pytest.raises(UserError, match='has 5 readable pictures, too few'):
        read_batches(folder / '1', INFO)
    wide = replace(INFO, input_shape=(16, 3, 8, 12))
    with pytest.raises(UserError, match=r'has 10 readable .* give 16 or more'):
        read_batches(folder, wide)


def test_noise_is_the_same_every_time() -> None:
    first, second = noise_batches(INFO), noise_batches(INFO)
    assert len(first) == 4 and first[0].dtype == np.float32
    assert all(np.array_equal(a, b) for a, b in zip(first, second, strict=True))
    assert not np.array_equal(first[0], first[1])
