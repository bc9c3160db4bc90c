"""Records that are whole or absent, and folders that are of one search."""

import json
import math
from dataclasses import dataclass

import pytest
import torch
from mmengine.config import Config

from mmnv3.arch import get_spec
from mmnv3.errors import UserError
from mmnv3.search.folder import SETTINGS, Folder, identify, to_json
from mmnv3.search.latency.table import Execution, LatencyTable


@dataclass
class Row:
    place: tuple[int, ...]


def test_records_and_tensors_come_back(tmp_path):
    folder = Folder(tmp_path / 'new')
    folder.write_json('a/b.json', dict(x=0.1, row=Row((1, 2))))
    assert folder.read_json('a/b.json') == dict(x=0.1, row=dict(place=[1, 2]))
    folder.write_weights('w.pth', dict(w=torch.ones(2)))
    assert torch.equal(folder.read_weights('w.pth')['w'], torch.ones(2))
    folder.write_spec('spec.json', get_spec('small'))
    assert folder.read_spec('spec.json') == get_spec('small')
    assert folder.read_json('none.json') is folder.read_tensors('none.pt') is None
    assert not list(tmp_path.rglob('*.tmp'))


def test_what_json_makes_of_data():
    found = to_json(dict(a=math.nan, b=(math.inf, 1.5), c=Config, d=True, e=tmp))
    assert found['a'] is None and found['b'] == [None, 1.5] and found['d'] is True
    assert found['c'].endswith('.Config') and found['e'].endswith('.tmp')


def tmp():
    """Something that JSON has no word for."""


def test_a_record_without_numbers_is_json_for_everybody(tmp_path):
    Folder(tmp_path).write_json('a.json', dict(mAP=math.nan))
    Folder(tmp_path).append_row('a.jsonl', dict(mAP=math.inf))
    for name in ('a.json', 'a.jsonl'):
        text = (tmp_path / name).read_text()
        assert json.loads(text, parse_constant=pytest.fail) == dict(mAP=None)


def test_a_line_that_was_cut_off_is_removed(tmp_path):
    folder = Folder(tmp_path)
    for number in range(3):
        folder.append_row('rows.jsonl', dict(number=number))
    path = tmp_path / 'rows.jsonl'
    whole = path.read_text()
    path.write_text(whole + whole[:5])
    assert [row['number'] for row in folder.read_rows('rows.jsonl')] == [0, 1, 2]
    assert path.read_text() == whole
    path.write_text('{' + whole)
    with pytest.raises(UserError, match=r'rows\.jsonl is damaged'):
        folder.read_rows('rows.jsonl')


@pytest.mark.parametrize(
    ('reader', 'message'),
    [
        (Folder.read_json, r'file is damaged \(.*; delete .*file and run'),
        (Folder.read_tensors, r'file is damaged \(.*; delete .*file and run'),
        (
            Folder.read_weights,
            r'file is damaged \(cannot be read as a checkpoint.*; delete .*file',
        ),
        (Folder.read_rows, r'file is damaged \(.*; delete .*file and run'),
        (
            Folder.read_spec,
            r'file is damaged \(not a readable JSON.*; delete .*file and run',
        ),
    ],
)
def test_a_damaged_file_names_itself_and_the_remedy(tmp_path, reader, message):
    (tmp_path / 'file').write_bytes(b'not a state\n')
    with pytest.raises(UserError, match=message) as caught:
        reader(Folder(tmp_path), 'file')
    assert '\n' not in str(caught.value)


def test_lost_weights_name_themselves(tmp_path):
    with pytest.raises(
        UserError,
        match=r'w\.pth is damaged \(it is missing\); delete .*step_01 and the fold',
    ):
        Folder(tmp_path).read_weights('step_01/w.pth')


@pytest.mark.parametrize(
    ('reader', 'content', 'said'),
    [
        (Folder.read_json, b'[' * 100_000, 'nested too deeply'),
        (Folder.read_json, '{}'.encode('utf-16'), 'not in UTF-8'),
        (Folder.read_json, b'{"accuracy": NaN}', 'NaN is no number'),
        (Folder.read_rows, b'[1]\n', 'a line is no object'),
        (Folder.read_rows, b'[' * 100_000 + b'\n', 'recursion'),
        (Folder.read_rows, b'\xff\n', 'utf-8'),
    ],
)
def test_records_of_another_kind(tmp_path, reader, content, said):
    (tmp_path / 'file').write_bytes(content)
    with pytest.raises(UserError, match=rf'file is damaged \(.*{said}'):
        reader(Folder(tmp_path), 'file')


def test_a_folder_in_the_place_of_a_file(tmp_path):
    (tmp_path / 'file').mkdir()
    readers = (Folder.read_json, Folder.read_rows, Folder.read_tensors)
    for reader in (*readers, Folder.read_weights, Folder.read_spec):
        with pytest.raises(UserError, match='file is damaged'):
            reader(Folder(tmp_path), 'file')


def test_tensors_that_are_no_dictionary(tmp_path):
    torch.save(torch.ones(2), tmp_path / 'state.pt')
    with pytest.raises(UserError, match='holds no dictionary'):
        Folder(tmp_path).read_tensors('state.pt')


def test_a_folder_has_one_search_at_a_time(tmp_path):
    folder = Folder(tmp_path / 'new')
    with (
        folder.alone(),
        pytest.raises(UserError, match='another process; wait for its end, or name'),
        Folder(tmp_path / 'new').alone(),
    ):
        pytest.fail('two searches')
    with folder.alone():
        folder.write_json('a.json', 1)
    assert [path.name for path in folder.path.iterdir()] == ['a.json']
    (tmp_path / 'file').touch()
    with (
        pytest.raises(UserError, match='cannot be written'),
        Folder(tmp_path / 'file').alone(),
    ):
        pytest.fail('no folder')


def test_a_folder_that_cannot_be_made_is_one_line(tmp_path):
    (tmp_path / 'file').touch()
    with pytest.raises(UserError, match=r'a\.json cannot be written \(.*; make room'):
        Folder(tmp_path / 'file').write_json('a.json', 1)


def test_a_folder_is_of_one_search(tmp_path):
    folder = Folder(tmp_path)
    settings = dict(lr=math.nan, stages=[dict(width=8), dict(width=16)], spec=Row((1,)))
    assert not folder.claim(settings)
    assert folder.claim(settings)
    settings['stages'][1]['width'] = 24
    with pytest.raises(UserError, match=r'another stages\.1\.width \(16, now 24\)'):
        folder.claim(settings)
    settings['stages'][1]['width'] = 16
    with pytest.raises(UserError, match=r'another seed \(none, now 3\); name another'):
        folder.claim(dict(settings, seed=3))
    # What is too long to show is named all the same.
    with pytest.raises(UserError, match=r'holds a search with another note; name'):
        folder.claim(dict(settings, note='x' * 100))


@pytest.mark.parametrize(
    ('name', 'text'),
    [
        # NetAdapt and NAS of 0.1.
        (SETTINGS, '{"delta": 0.01}'),
        ('state.pt', ''),
    ],
)
def test_folders_of_an_earlier_version_are_one_line(tmp_path, name, text):
    (tmp_path / name).write_text(text)
    with pytest.raises(UserError, match=r'of another version of mmnv3.*; name another'):
        Folder(tmp_path).claim(dict(delta=0.01))


def test_the_identity_tells_configs_data_tables_and_versions(tiny_config):
    table = LatencyTable.new(Execution('pytorch', 2))
    found = to_json(identify(tiny_config, table))
    assert found['config']['model'] == to_json(tiny_config.model)
    assert found['training_pictures'] > 1
    assert (found['table']['backend'], found['table']['threads']) == ('pytorch', 2)
    assert {'mmnv3', 'torch', 'mmengine'} < set(found['versions'])
    # The same when asked again, as by another process.
    assert json.loads(json.dumps(found)) == to_json(identify(tiny_config, table))
