"""Exports that are kept."""

import os
from dataclasses import replace
from pathlib import Path

import onnx
import pytest
import torch

from mmnv3.deploy import cache, export
from mmnv3.deploy.cache import cached_export
from mmnv3.deploy.runtime import FORMATS, load_runtime
from mmnv3.deploy.sources import open_source
from mmnv3.engine.config import read_config
from mmnv3.errors import Remark, UserError
from tests.deploy.tiny import INFO, write_tiny

CONFIG = 'configs/ssdlite_mnv3_small_demo.py'


@pytest.fixture
def exports(monkeypatch, tmp_path: Path) -> list[tuple]:
    """The cache moved here, and exports that only write a line and are listed."""
    calls = []

    def export_config(config, checkpoint, out, *args, **settings) -> None:
        calls.append((config.filename, checkpoint, *args, settings))
        out.parent.mkdir(parents=True, exist_ok=True)
        out.write_text('exported')

    monkeypatch.setenv('XDG_CACHE_HOME', str(tmp_path / 'cache'))
    monkeypatch.setattr(export, 'export_config', export_config)
    return calls


def test_what_is_there_is_not_exported_again(exports, tmp_path) -> None:
    config = read_config(CONFIG)
    first = cached_export(config, None, 'onnx')
    assert first.read_text() == 'exported'
    assert tmp_path / 'cache' in first.parents and first.suffix == '.onnx'
    assert first.name.startswith('ssdlite_mnv3_small_demo-')
    assert cached_export(read_config(CONFIG), None, 'onnx') == first
    usual = dict(batch=1, postprocess=False, precision='fp32', calibration=None)
    assert exports == [(CONFIG, None, 'onnx', None, usual)]


def test_everything_that_matters_makes_another_file(exports, tmp_path) -> None:
    config = read_config(CONFIG)
    changed = read_config(CONFIG, {'model.test_cfg.score_thr': 0.5})
    checkpoint = tmp_path / 'a.pth'
    checkpoint.write_text('weights')
    pictures = tmp_path / 'pictures'
    pictures.mkdir()
    (pictures / 'a.png').write_text('a picture')
    files = [
        cached_export(config, None, 'onnx'),
        cached_export(config, None, 'openvino'),
        cached_export(config, None, 'onnx', size=(64, 64)),
        cached_export(config, None, 'onnx', batch=2),
        cached_export(config, None, 'onnx', postprocess=True),
        cached_export(changed, None, 'onnx'),
        cached_export(config, str(checkpoint), 'onnx'),
        cached_export(config, None, 'onnx', precision='fp16'),
        cached_export(config, None, 'onnx', precision='int8', calibration=pictures),
    ]
    (pictures / 'a.png').write_text('another picture')
    files.append(
        cached_export(config, None, 'onnx', precision='int8', calibration=pictures)
    )
    os.utime(checkpoint, ns=(0, 0))
    files.append(cached_export(config, str(checkpoint), 'onnx'))
    checkpoint.write_text('other weights')
    os.utime(checkpoint, ns=(0, 0))
    files.append(cached_export(config, str(checkpoint), 'onnx'))
    assert len(set(files)) == len(exports) == 12


def test_an_edited_architecture_is_exported_anew(exports, tmp_path) -> None:
    spec = tmp_path / 'net.json'
    spec.write_text('{}')
    config = read_config(CONFIG, {'model.backbone.arch': str(spec)})
    first = cached_export(config, None, 'onnx')
    spec.write_text('{"name": 1}')
    assert cached_export(config, None, 'onnx') != first


def test_another_version_exports_anew(exports, monkeypatch) -> None:
    config = read_config(CONFIG)
    first = cached_export(config, None, 'onnx')
    monkeypatch.setattr(torch, '__version__', '99')
    assert cached_export(config, None, 'onnx') != first


@pytest.mark.parametrize(
    ('format_name', 'package'),
    [
        ('onnx', 'onnx'),
        ('onnx', 'onnxscript'),
        ('openvino', 'openvino'),
        ('litert', 'litert-torch'),
        ('executorch', 'executorch'),
    ],
)
def test_another_version_of_an_exporter_exports_anew(
    exports, monkeypatch, format_name, package
) -> None:
    config, installed = read_config(CONFIG), {package: '1'}
    monkeypatch.setattr(cache, 'version', lambda name: installed.get(name, '0'))
    names = list(FORMATS)
    first = {name: cached_export(config, None, name) for name in names}
    installed[package] = '2'
    changed = {n for n in names if cached_export(config, None, n) != first[n]}
    assert changed == {format_name}


def test_a_folder_that_cannot_be_written_is_told(monkeypatch, tmp_path) -> None:
    (tmp_path / 'file').touch()
    monkeypatch.setenv('XDG_CACHE_HOME', str(tmp_path / 'file'))
    with pytest.raises(UserError, match=r'cannot be written \(.*set XDG_CACHE_HOME'):
        cached_export(read_config(CONFIG), None, 'onnx')


def cut_off(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:5000])


def fail_at_the_first_run(path: Path) -> None:
    info = replace(INFO, classes=('dot', 'dash', 'line'), palette=())
    model = onnx.load(path)
    onnx.helper.set_model_props(model, info.to_strings())
    onnx.save(model, path)
    assert load_runtime(path).info == info


@pytest.mark.parametrize('damage', [cut_off, fail_at_the_first_run])
def test_a_damaged_export_is_made_anew(monkeypatch, tmp_path, damage) -> None:
    monkeypatch.setenv('XDG_CACHE_HOME', str(tmp_path / 'cache'))
    made = []

    def export_config(config, checkpoint, out, *args, **settings) -> None:
        out.parent.mkdir(parents=True, exist_ok=True)
        made.append(write_tiny(out.parent, 'onnx').rename(out))
        if len(made) == 1:
            damage(out)

    monkeypatch.setattr(export, 'export_config', export_config)
    with pytest.warns(Remark, match='random weights'):
        source = open_source(CONFIG, backend='onnxruntime')
    assert source.start(1, None).info == INFO
    assert len(made) == 2 and made[0] == made[1]
