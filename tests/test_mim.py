"""Configs and tools by name, from anywhere, also for mmengine."""

import os
import re
import sys
from pathlib import Path
from types import ModuleType

import pytest
from mmengine.config import Config
from mmengine.fileio import load
from mmengine.hub import get_config

from mmnv3 import __main__, arguments, mim
from mmnv3.compat import own_configs
from mmnv3.engine.config import read_config
from mmnv3.errors import UserError
from tests.conftest import ROOT
from tests.tools import NAMES

NAME = 'ssdlite_mnv3_large_coco'
FILE = str(ROOT / 'configs' / f'{NAME}.py')


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty current folder."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.parametrize(
    'name', [NAME, f'{NAME}.py', f'mmnv3::{NAME}', f'mmnv3::{NAME}.py']
)
def test_a_name_leads_to_our_config(name: str) -> None:
    assert mim.find_config(name) == arguments.config(name) == FILE
    assert read_config(name).filename == FILE


def test_a_file_comes_before_ours(folder: Path) -> None:
    Path(f'{NAME}.py').write_text('model = dict(type="Mine")')
    assert read_config(f'{NAME}.py').model.type == 'Mine'
    assert mim.find_config(f'mmnv3::{NAME}') == FILE
    # A name that may mean both means neither.
    with pytest.raises(UserError, match=rf'say {NAME}.py or mmnv3::{NAME}$'):
        mim.find_config(NAME)
    os.chdir(ROOT / 'configs')
    assert mim.find_config(NAME) == FILE


def test_other_names_stay() -> None:
    for name in ('mine.py', f'configs/{NAME}.py', 'torchvision:x', 'a.onnx', ''):
        assert mim.find_config(name) == name


@pytest.mark.parametrize(
    'name', ['ssdlite_mnv3_lage_coco', 'configs/ssdlite_mnv3_large_coco.py']
)
def test_the_nearest_names_are_told(name: str) -> None:
    with pytest.raises(UserError, match=f'no such config file; .*: {NAME}, '):
        read_config(name)
    with pytest.raises(UserError, match=f'no such config; .*: {NAME}, '):
        Config.fromfile(f'mmnv3::{Path(name).name}x')
    with pytest.raises(UserError, match=r'no such config file$'):
        read_config('gone.py')


def test_our_name_is_told_where_it_suffices() -> None:
    assert mim.config_name(FILE) == NAME
    assert mim.config_name(str(mim.CONFIGS / f'{NAME}.py')) == NAME
    for path in ('mine.py', f'elsewhere/{NAME}.py', f'{ROOT}/configs/gone.py'):
        assert mim.config_name(path) == path


# --- mmengine


def test_mmengine_reads_ours_by_name(folder: Path) -> None:
    here = Config.fromfile(FILE)
    assert Config.fromfile(f'mmnv3::{NAME}.py').to_dict() == here.to_dict()
    assert get_config(f'mmnv3::{NAME}.py').to_dict() == here.to_dict()
    Path('mine.py').write_text(
        f"_base_ = ['mmnv3::{NAME}.py']\nmodel = dict(test_cfg=dict(max_per_img=7))"
    )
    mine = Config.fromfile('mine.py')
    assert mine.model.pop('test_cfg').max_per_img == 7
    here.model.pop('test_cfg')
    assert mine.to_dict() == here.to_dict()
    Path('schedule.py').write_text("_base_ = 'mmnv3::_base_/schedule_short.py'")
    assert 'optim_wrapper' in Config.fromfile('schedule.py')


def test_mmengine_reads_others_as_before() -> None:
    name = 'mmdet::ssd/ssd300_coco.py'
    assert get_config(name).model.type == 'SingleStageDetector'
    with pytest.raises(FileNotFoundError):
        Config.fromfile('mmdet_::gone.py')


def test_there_are_no_weights_to_get() -> None:
    with pytest.raises(AssertionError, match='no weights are published'):
        get_config(f'mmnv3::{NAME}.py', pretrained=True)


def test_names_that_were_copied_before_our_time(monkeypatch) -> None:
    hub, package = ModuleType('mmengine.hub.hub'), ModuleType('mmengine.hub')
    hub.get_config = package.get_config = lambda path, pretrained: path
    hub.Config = Config
    monkeypatch.setitem(sys.modules, 'mmengine.hub', package)
    own_configs.get_by_name(hub)
    assert hub.get_config is package.get_config
    assert package.get_config(f'mmnv3::{NAME}').filename == FILE
    assert package.get_config('mmdet::x') == 'mmdet::x'


def test_the_index_lists_every_config() -> None:
    root = mim.CONFIGS.parent
    (metafile,) = load(root / 'model-index.yml')['Import']
    models = load(root / metafile)['Models']
    assert [model['Name'] for model in models] == mim.config_names()
    tasks = {
        'Object Detection': 'ssdlite_',
        'Semantic Segmentation': r'(mmseg_)?l?raspp_',
        'Image Classification': 'mnv3_',
    }
    for model in models:
        assert model['Config'] == f'configs/{model["Name"]}.py'
        (result,) = model['Results']
        assert re.match(tasks[result['Task']], model['Name'])


# --- python -m mmnv3


def test_the_tools_are_listed(capsys) -> None:
    __main__.main([])
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == 'usage: python -m mmnv3 TOOL [ARGUMENT ...]'
    for name in NAMES:
        (line,) = (line for line in lines if line.split()[:1] == [name[:-3]])
        assert line.endswith('.')
    assert f'  {NAME}' in lines


def test_a_tool_is_run(monkeypatch, capsys, folder: Path) -> None:
    monkeypatch.setattr('sys.argv', ['mmnv3'])
    __main__.main(['demo_data', '--out', 'here', '--train', '1', '--val', '1'])
    assert '1 training and 1 validation pictures written' in capsys.readouterr().out
    with pytest.raises(SystemExit) as ended:
        __main__.main(['demo_data.py', '--size', 'x'])
    assert ended.value.code == 2
    assert '--size: invalid int value' in capsys.readouterr().err


def test_a_tool_that_is_none(capsys) -> None:
    with pytest.raises(SystemExit) as ended:
        __main__.main(['trian'])
    assert ended.value.code == 2
    line = capsys.readouterr().err
    assert line.startswith('error: trian: there is no such tool; nearest: train')
