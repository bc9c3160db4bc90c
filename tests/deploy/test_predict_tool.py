"""The command that predicts."""

import json
import os
from pathlib import Path

import cv2
import numpy as np
import pytest

from mmnv3.deploy.places import check_targets, collect
from mmnv3.deploy.predict_files import predict_files
from mmnv3.deploy.predictor import Predictor
from mmnv3.deploy.results import Classification, Segmentation
from mmnv3.deploy.writers import as_json, in_words, json_writer
from mmnv3.errors import Remark, UserError
from tests.deploy.tiny import write_tiny
from tests.tools import Completed, fork_tool


def picture(path: Path, seed: int = 0) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    noise = np.random.default_rng(seed).integers(0, 256, (10, 15, 3), np.uint8)
    cv2.imwrite(str(path), cv2.resize(noise, (150, 100)))
    return path


def run(*args: object) -> Completed:
    return fork_tool('predict.py', *args)


def test_the_tool_draws_tells_and_writes(exported, tmp_path) -> None:
    picture(tmp_path / 'in' / 'a.png')
    picture(tmp_path / 'in' / 'deep' / 'b.jpg')
    (tmp_path / 'in' / 'c.jpg').write_text('hello')
    model = exported.file('wide', 'onnx')
    out, found = tmp_path / 'out', tmp_path / 'found.json'
    done = run(
        model, tmp_path / 'in', '--out', out, '--json', found, '--score-thr', 0.3
    )
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    assert lines[0].startswith(f'{tmp_path}/in/a.png: ')
    assert lines[0].endswith(f' → {out}/a.png')
    assert lines[-1].startswith('2 pictures in ') and lines[-1].endswith(' a second')
    assert '1 of 3 files skipped' in done.stderr and 'c.jpg: not a' in done.stderr
    assert {p.relative_to(out) for p in out.rglob('*.*')} == {
        Path('a.png'),
        Path('deep/b.jpg'),
    }
    first, _ = json.loads(found.read_text())
    expected = Predictor(model)(tmp_path / 'in' / 'a.png')
    kept = expected.scores > 0.3
    assert first['file'].endswith('in/a.png') and first['size'] == [150, 100]
    assert len(first['found']) == kept.sum() > 0
    for row, box, label in zip(
        first['found'], expected.boxes, expected.labels, strict=False
    ):
        np.testing.assert_allclose(row['box'], box, atol=0.01)
        assert row['class'] == expected.classes[label] and row['score'] > 0.3


def test_errors_are_one_line() -> None:
    done = run('gone.onnx', 'a.png')
    assert (done.returncode, done.stdout) == (2, '')
    last = done.stderr.splitlines()[-1]
    assert last == 'error: gone.onnx: there is no such file'
    assert 'Traceback' not in done.stderr


def test_what_cannot_be_predicted_or_drawn_is_told(exported, tmp_path) -> None:
    path = picture(tmp_path / 'a.png')
    predict = Predictor(exported.file('wide', 'onnx'), threads=1)
    (tmp_path / 'empty').mkdir()
    for args, message in (
        ((['gone.png'],), 'gone.png: there is no such file or folder'),
        (([tmp_path / 'empty'],), 'empty: the folder is empty'),
        (([path], tmp_path), r'a\.png is one of the pictures; draw into another'),
        (([path], path), r'a\.png/a\.png cannot be written'),
        (([path], None, [json_writer(path / 'a.json')]), r'a\.json cannot be written'),
    ):
        with pytest.raises(UserError, match=message):
            predict_files(predict, *args)


def test_many_pictures_get_no_line_each(exported, tmp_path) -> None:
    for number in range(21):
        picture(tmp_path / f'{number}.png', number)
    told = []
    predict = Predictor(exported.file('wide', 'onnx'), threads=1)
    assert predict_files(predict, [tmp_path], tell=told.append) == 21
    assert told == []


def test_pictures_of_one_name_get_places_of_their_own(tmp_path) -> None:
    for name in ('x/a.png', 'y/a.png', 'z/a.png', 'z/a_2.png', 'z/b.unknown'):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    places = collect([tmp_path / 'x/a.png', tmp_path / 'y', tmp_path / 'z'])
    assert [str(place) for place in places.values()] == [
        'a.png', 'a_2.png', 'a_3.png', 'a_2_2.png', 'b.png',
    ]  # fmt: skip
    check_targets(places, tmp_path / 'out')
    with pytest.raises(UserError, match='is one of the pictures'):
        check_targets(places, tmp_path / 'x')
    assert len(collect([tmp_path / 'x', tmp_path / 'x/a.png'])) == 1


def test_masks_and_classes_in_words_and_json() -> None:
    mask = np.array([[0, 2], [2, 2]], np.uint8)
    result = Segmentation(mask, ('road', 'sky', 'tree'))
    assert in_words(result) == 'tree 75%, road 25%'
    assert as_json(result)[0] == {'class': 'tree', 'share': 0.75}
    scores = np.array([0.6, 0.30001], np.float32)
    result = Classification(scores, np.array([1, 0]), ('cat', 'dog'))
    assert in_words(result) == 'dog 60%, cat 30%'
    assert as_json(result)[1] == {'class': 'cat', 'score': 0.3}


def test_rows_are_written_as_they_come(tmp_path) -> None:
    predict = Predictor(write_tiny(tmp_path, 'onnx'), threads=1)
    files = [picture(tmp_path / f'{number}.png', number) for number in range(3)]
    whole, lines = tmp_path / 'a.json', tmp_path / 'a.jsonl'
    for path in (whole, lines):
        predict_files(predict, files, None, [json_writer(path)], tell=lambda line: None)
    rows = json.loads(whole.read_text())
    assert [row['file'] for row in rows] == list(map(str, files))
    assert [json.loads(line) for line in lines.read_text().splitlines()] == rows

    def stop(line: str) -> None:
        assert len(list(tmp_path.glob('b.json*'))) == 1
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        predict_files(
            predict, files, None, [json_writer(tmp_path / 'b.json')], tell=stop
        )
    assert not list(tmp_path.glob('b.json*'))


def test_odd_sources_are_one_line(tmp_path) -> None:
    os.mkfifo(tmp_path / 'pipe')
    for source, message in (
        ('', 'is empty; name a file'),
        (tmp_path / 'pipe', 'pipe is a pipe or a device'),
        ('/dev/null', '/dev/null is a pipe or a device'),
    ):
        with pytest.raises(UserError, match=message):
            collect([source])


def test_grey_formats_are_drawn_in_another(tmp_path) -> None:
    model = write_tiny(tmp_path, 'onnx')
    file = tmp_path / 'a.pgm'
    cv2.imwrite(str(file), np.full((10, 15), 7, np.uint8))
    predict_files(Predictor(model), [file], tmp_path / 'out', tell=lambda line: None)
    assert [path.name for path in (tmp_path / 'out').iterdir()] == ['a.png']


def test_names_that_are_no_text_are_drawn(tmp_path) -> None:
    model = write_tiny(tmp_path, 'onnx')
    strange = os.fsdecode(b'\xff\xfe.jpg')
    file = picture(tmp_path / 'a.jpg').rename(tmp_path / strange)
    predict_files(Predictor(model), [file], tmp_path / 'out', tell=lambda line: None)
    assert [path.name for path in (tmp_path / 'out').iterdir()] == [strange]


def test_the_model_is_not_drawn_over(tmp_path) -> None:
    model = write_tiny(tmp_path, 'onnx')
    file, out = picture(tmp_path / 'a.png'), tmp_path / 'out'
    out.mkdir()
    (out / 'a.png').symlink_to(model)
    before = model.read_bytes()
    with pytest.raises(UserError, match=r'a\.png is the model'):
        predict_files(Predictor(model), [file], out)
    assert model.read_bytes() == before


def test_a_detector_that_finds_nothing_says_so(tmp_path) -> None:
    predict = Predictor(write_tiny(tmp_path, 'onnx'), threads=1)
    file = picture(tmp_path / 'a.png')
    with pytest.warns(Remark, match=r'nothing scores more than 0\.99 in any picture'):
        predict_files(predict, [file], threshold=0.99, tell=lambda line: None)
