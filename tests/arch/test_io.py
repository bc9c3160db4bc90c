"""Specifications as files."""

import json
from pathlib import Path

import pytest

from mmnv3.arch import ZOO, get_spec, load_spec, save_spec
from mmnv3.errors import UserError


@pytest.mark.parametrize('arch', ZOO)
def test_a_network_survives_its_file(arch: str, tmp_path: Path) -> None:
    spec = get_spec(arch, 0.5)
    save_spec(spec, tmp_path / 'net.json')
    assert load_spec(tmp_path / 'net.json') == spec
    assert [path.name for path in tmp_path.iterdir()] == ['net.json']


def _edit(path: Path, **changes: object) -> Path:
    save_spec(ZOO['small'], path)
    data = json.loads(path.read_text())
    for key, value in changes.items():
        if key == 'block':
            data['blocks'][2].update(value)
        elif value is None:
            del data[key]
        else:
            data[key] = value
    path.write_text(json.dumps(data))
    return path


@pytest.mark.parametrize(
    ('changes', 'message'),
    [
        (dict(format='other'), 'format'),
        (dict(format=None), 'format'),
        (dict(stem=None), "lacks the key 'stem'"),
        (dict(extra=1), "unknown key 'extra'"),
        (dict(blocks=3), '"blocks" is not a list'),
        (dict(last=[1]), 'network.last is not an object'),
        (dict(block=dict(stride=3)), r'blocks\[2\].*stride=3'),
        (dict(block=dict(act='gelu')), r'blocks\[2\].*gelu'),
        (dict(block=dict(out='16')), r"blocks\[2\].*out='16'"),
        (dict(block=dict(residual='no')), r"blocks\[2\].*residual='no'"),
        (dict(block=dict(se=False)), r'blocks\[2\].se is not an object'),
        (dict(name=3), 'name=3'),
        (dict(tail='else'), "tail='else'"),
        (dict(blocks=[]), 'has no blocks'),
        (dict(blocks=[[3, 16, 16]]), r'blocks\[0\] is not an object'),
        (dict(block=dict(se=dict(of='nothing'))), r'blocks\[2\].se.*nothing'),
    ],
)
def test_a_wrong_file_is_named_with_the_key(
    changes: dict, message: str, tmp_path: Path
) -> None:
    path = _edit(tmp_path / 'net.json', **changes)
    with pytest.raises(UserError, match=rf'net\.json: .*{message}') as error:
        load_spec(path)
    assert '\n' not in str(error.value)


def test_missing_and_broken_files_are_named(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r'gone\.json: there is no such'):
        load_spec(tmp_path / 'gone.json')


@pytest.mark.parametrize(
    ('content', 'said'),
    [
        (b'', 'not a readable JSON'),
        (b'{"format":', 'not a readable JSON'),
        (b'[1, 2]', '"format" is not'),
        (b'[' * 100_000, 'nested too deeply'),
        (b'{"a": 1, "a": 2}', "'a' stands twice"),
        (b'{"a": NaN}', 'NaN is no number'),
        ('{"format": "ä"}'.encode('utf-16'), 'not in UTF-8'),
        (b'\x80\x02}q\x00.', 'not in UTF-8'),
    ],
)
def test_files_that_hold_something_else(content: bytes, said: str, tmp_path: Path):
    (tmp_path / 'net.json').write_bytes(content)
    with pytest.raises(UserError, match=rf'net\.json: .*{said}') as error:
        load_spec(tmp_path / 'net.json')
    assert '\n' not in str(error.value)


def test_a_folder_is_no_file(tmp_path: Path) -> None:
    with pytest.raises(UserError, match='a folder or a device'):
        load_spec(tmp_path)


def test_a_byte_order_mark_is_no_fault(tmp_path: Path) -> None:
    path = _edit(tmp_path / 'net.json')
    path.write_bytes(b'\xef\xbb\xbf' + path.read_bytes())
    assert load_spec(path) == ZOO['small']
