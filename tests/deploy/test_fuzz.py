"""Whatever an exported file holds, there are results or one line."""

from __future__ import annotations

import io
import json
import random
import shutil
import warnings
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest

from mmnv3.deploy.info import ModelInfo
from mmnv3.deploy.pipeline import prepare_picture
from mmnv3.deploy.predictor import Predictor
from mmnv3.deploy.results import Detections, finish
from mmnv3.errors import UserError
from tests.deploy.tiny import INFO, SIZE, write_tiny
from tests.mutate import broken_value

PICTURE = np.random.default_rng(0).integers(0, 256, (24, 30, 3), np.uint8)
OUTPUTS = {
    'boxes': np.full((1, 12, 4), 3, np.float32),
    'scores': np.full((1, 12, 2), 0.5, np.float32),
}


def broken_bytes(rng: random.Random, content: bytes) -> bytes:
    """Bytes that are cut, changed, moved or repeated."""
    at = rng.randrange(len(content))
    length = rng.choice((1, 1, 2, 4, 8, 64, len(content)))
    new = rng.choice(
        (b'', bytes(length), b'\xff' * length, rng.randbytes(length), content[:length])
    )
    return content[:at] + new + content[at + length :]


def check(run: Callable[[], Any]) -> bool:
    """Whether there is a result, and not one line."""
    with warnings.catch_warnings():
        warnings.simplefilter('ignore')
        try:
            result = run()
        except UserError as error:
            assert str(error) and '\n' not in str(error)
            return False
    if isinstance(result, Detections):
        assert np.isfinite(result.boxes).all() and np.isfinite(result.scores).all()
        assert len(result.boxes) == len(result.scores) == len(result.labels)
        assert {result.classes[label] for label in result.labels} <= set(result.classes)
    return True


def use_description(strings: dict[str, str]) -> Detections:
    info = ModelInfo.from_strings(strings, 'tiny.onnx')
    if info.task != INFO.task or info.input_shape != INFO.input_shape:
        raise UserError('the file itself says this')
    assert np.isfinite(info.mean).all() and info.std > (0, 0, 0)
    prepare_picture(PICTURE, info)
    outputs = dict(OUTPUTS)
    if len(info.classes) != 2 or info.postprocessed:
        raise UserError('its outputs say this')
    (result,) = finish(outputs, info, [(30, 24)])
    return result


def fuzz_descriptions(count: int) -> list[bool]:
    found = []
    for seed in range(count):
        rng = random.Random(seed)
        fields = {name: json.loads(v) for name, v in INFO.to_strings().items()}
        if rng.random() < 0.3:
            del fields['steps']  # A file of 0.1.
        fields = broken_value(rng, fields)
        if not isinstance(fields, dict):
            continue
        strings = {str(name): json.dumps(value) for name, value in fields.items()}
        if strings and rng.random() < 0.2:
            name = rng.choice(list(strings))
            strings[name] = broken_bytes(rng, strings[name].encode()).decode('latin-1')
        found.append(check(lambda strings=strings: use_description(strings)))
    return found


def fuzz_files(path: Path, folder: Path, count: int) -> list[bool]:
    """Damages every file of a model, in bytes and, where they are JSON, in values."""
    found = []
    parts = [path.with_suffix(end) for end in ('.xml', '.bin')]
    parts = parts if path.suffix == '.xml' else [path]
    for seed in range(count):
        rng = random.Random(seed)
        for part in parts:
            shutil.copy(part, folder / part.name)
        part = rng.choice(parts)
        content = part.read_bytes()
        if path.suffix == '.pt2' and rng.random() < 0.8:
            content = broken_archive(rng, content)
        elif path.suffix == '.onnx' and rng.random() < 0.3:
            content = broken_properties(rng, content)
        else:
            content = broken_bytes(rng, content)
        (folder / part.name).write_bytes(content)
        made = sorted(folder.iterdir())
        found.append(check(lambda: Predictor(folder / path.name, threads=1)(PICTURE)))
        assert sorted(folder.iterdir()) == made
    return found


def broken_archive(rng: random.Random, content: bytes) -> bytes:
    """An archive of which one member is damaged."""
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    name = rng.choice([name for name in members if members[name]])
    if name.endswith('.json') and rng.random() < 0.8:
        value = broken_value(rng, json.loads(members[name]))
        members[name] = json.dumps(value).encode()
    else:
        members[name] = broken_bytes(rng, members[name])
    out = io.BytesIO()
    with zipfile.ZipFile(out, 'w') as archive:
        for name, member in members.items():
            archive.writestr(name, member)
    return out.getvalue()


def broken_properties(rng: random.Random, content: bytes) -> bytes:
    model = onnx.load_from_string(content)
    prop = rng.choice(model.metadata_props)
    prop.value = json.dumps(broken_value(rng, json.loads(prop.value)))
    return model.SerializeToString()


@pytest.fixture(scope='module')
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    folder = tmp_path_factory.mktemp('tiny')
    return lambda kind: write_tiny(folder, kind)


def test_descriptions() -> None:
    found = fuzz_descriptions(600)
    assert 20 < sum(found) < 400


@pytest.mark.parametrize(
    ('kind', 'count'), [('onnx', 200), ('pytorch', 12), ('openvino', 4)]
)
def test_files(tiny, tmp_path, kind, count) -> None:
    path = tiny(kind)
    assert len(Predictor(path)(PICTURE).boxes) and SIZE == INFO.size
    assert not all(fuzz_files(path, tmp_path, count))


@pytest.mark.slow  # Thousands.
@pytest.mark.parametrize(
    ('kind', 'count'), [('onnx', 4000), ('pytorch', 300), ('openvino', 300)]
)
def test_many_files(tiny, tmp_path, kind, count) -> None:
    fuzz_files(tiny(kind), tmp_path, count)


@pytest.mark.slow
def test_many_descriptions() -> None:
    fuzz_descriptions(20000)
