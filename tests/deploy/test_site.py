"""A site holds the page, its models, and a list of them."""

import hashlib
import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnxruntime
import pytest

from mmnv3.deploy import site as module
from mmnv3.deploy.export import export_site
from mmnv3.deploy.info import ModelInfo
from mmnv3.deploy.site import MANIFEST, check_site, write_site
from mmnv3.errors import UserError
from mmnv3.pictures import read_picture
from tests.deploy.tiny import INFO


@pytest.fixture(autouse=True)
def page(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A page of two files in place of the built one."""
    folder = tmp_path / 'page'
    (folder / 'assets').mkdir(parents=True)
    (folder / 'index.html').write_text('assets/a-1.js')
    (folder / 'assets' / 'a-1.js').write_text('1')
    monkeypatch.setattr(module, '_PAGE', folder)
    monkeypatch.setattr(module, '_SAMPLES', 2)
    monkeypatch.setattr(module, '_SAMPLE_PIXELS', 64)
    return folder


def exporter(content: bytes, **changes: object) -> Callable[[Path], ModelInfo]:
    def export(path: Path) -> ModelInfo:
        path.write_bytes(content)
        return replace(INFO, **changes)

    return export


def names(folder: Path) -> list[str]:
    files = [path for path in folder.rglob('*') if path.is_file()]
    return sorted(path.relative_to(folder).as_posix() for path in files)


def test_a_site_lists_what_it_holds(tmp_path: Path) -> None:
    out = tmp_path / 'site'
    write_site(out, 'my detector', exporter(b'network'))
    assert names(out) == [
        'assets/a-1.js',
        'index.html',
        'models.json',
        'models/my_detector-fp32.onnx',
        'samples/1.jpg',
        'samples/2.jpg',
    ]
    manifest = json.loads((out / MANIFEST).read_text())
    (row,) = manifest['models']
    assert (out / row['file']).read_bytes() == b'network'
    assert row == dict(
        name='my detector',
        precision='fp32',
        task='detection',
        file='models/my_detector-fp32.onnx',
        bytes=7,
        version=hashlib.sha256(b'network').hexdigest()[:12],
        classes=['dot', 'dash'],
        palette=[[255, 0, 0], [0, 0, 255]],
        input='image',
        score_threshold=0.1,
        max_detections=5,
    )
    pictures = [read_picture(out / each['file']) for each in manifest['samples']]
    assert [picture.shape for picture in pictures] == [(64, 64, 3)] * 2
    assert (pictures[0] != pictures[1]).any()
    assert not list(tmp_path.glob('*.tmp'))


def test_models_are_added_and_replaced(tmp_path: Path, page: Path) -> None:
    out = tmp_path / 'site'
    write_site(out, 'a', exporter(b'1'))
    write_site(out, 'a', exporter(b'2', precision='int8', palette=()))
    (page / 'assets' / 'a-1.js').rename(page / 'assets' / 'a-2.js')
    write_site(out, 'a', exporter(b'three'))
    rows = json.loads((out / MANIFEST).read_text())['models']
    assert [(row['precision'], row['bytes']) for row in rows] == [
        ('int8', 1),
        ('fp32', 5),
    ]
    # Without colours of its own it has distinct ones.
    assert len({tuple(colour) for colour in rows[0]['palette']}) == 2
    assert [name for name in names(out) if 'a-' in name] == [
        'assets/a-2.js',
        'models/a-fp32.onnx',
        'models/a-int8.onnx',
    ]


def test_a_failed_export_leaves_nothing(tmp_path: Path) -> None:
    def fail(path: Path) -> ModelInfo:
        path.write_bytes(b'half')
        raise UserError('no weights')

    with pytest.raises(UserError, match='no weights'):
        write_site(tmp_path / 'site', 'a', fail)
    assert names(tmp_path) == ['page/assets/a-1.js', 'page/index.html']


@pytest.mark.parametrize(
    ('name', 'content', 'message'),
    [
        ('letter.txt', 'dear', 'holds other files than a site'),
        (MANIFEST, '[', 'not a readable JSON file'),
        (MANIFEST, '{"models": [{"name": 1}]}', 'lists no models'),
    ],
)
def test_other_folders_are_refused(
    tmp_path: Path, name: str, content: str, message: str
) -> None:
    (tmp_path / 'site').mkdir()
    (tmp_path / 'site' / name).write_text(content)
    with pytest.raises(UserError, match=message):
        check_site(tmp_path / 'site')


def test_a_config_becomes_a_site_that_takes_pictures(tmp_path: Path) -> None:
    config = Path(__file__).parents[1] / 'configs' / 'ssdlite_shallow.py'
    options = {'model.bbox_head.anchor_generator.input_size': 96}
    info = export_site(str(config), None, tmp_path / 'site', options=options)
    assert info.takes_pictures
    (row,) = json.loads((tmp_path / 'site' / MANIFEST).read_text())['models']
    assert (row['name'], row['classes']) == ('ssdlite_shallow', [*info.classes])
    model = onnxruntime.InferenceSession(tmp_path / 'site' / row['file'])
    picture = np.full((30, 50, 3), 90, np.uint8)
    boxes, scores, labels = model.run(
        ['boxes', 'scores', 'labels'], {row['input']: picture}
    )
    assert boxes.shape == (len(scores), 4) and len(labels) == len(scores)
    with pytest.raises(UserError, match='the format onnx has no bf16'):
        export_site(str(config), None, tmp_path / 'site', precision='bf16')
    with pytest.raises(UserError, match='need not be so in browsers'):
        export_site(str(config), None, tmp_path / 'site', precision='auto')


def test_an_installation_without_the_page_says_what_makes_it(page: Path) -> None:
    (page / 'index.html').unlink()
    with pytest.raises(UserError, match='make web'):
        check_site(page.parent / 'site')
