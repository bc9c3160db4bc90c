"""What an installation brings, read from the wheels that pip would install."""

import runpy
import shutil
import subprocess
import sys
from email import message_from_string
from pathlib import Path
from zipfile import ZipFile

import pytest

ROOT = Path(__file__).parents[1]
PAGE = ('index.html', 'assets/code.js', 'assets/runtime.wasm')
FAMILIES = ('mmcv', 'mmdet', 'mmengine', 'mmseg', 'mmpretrain', 'onedl')


@pytest.fixture(scope='module', params=['build_wheel', 'build_editable'])
def wheel(request, tmp_path_factory) -> ZipFile:
    """The plain wheel and the editable one, built by the setuptools at hand."""
    source = tmp_path_factory.mktemp('source')
    for name in ('setup.py', 'pyproject.toml', 'README.md', 'LICENSE'):
        shutil.copy(ROOT / name, source)
    # In place of the page that may be built here, which is large.
    page = source / 'mmnv3/deploy/page'
    shutil.copytree(
        ROOT / 'mmnv3', source / 'mmnv3', ignore=shutil.ignore_patterns('page')
    )
    for name in PAGE:
        (page / name).parent.mkdir(parents=True, exist_ok=True)
        (page / name).write_text(name)
    code = f"import setuptools.build_meta as b; b.{request.param}('dist')"
    done = subprocess.run(
        [sys.executable, '-c', code], cwd=source, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    with ZipFile(next((source / 'dist').glob('*.whl'))) as file:
        yield file


def test_the_startup_files_lie_on_top(wheel):
    for name in ('mmnv3.pth', '_mmnv3_startup.py'):
        assert wheel.read(name) == (ROOT / 'mmnv3/compat' / name).read_bytes()


def test_types_are_announced_beside_the_package(wheel):
    names = wheel.namelist()
    # An editable wheel leaves the package where it is.
    assert ('mmnv3/py.typed' in names) == ('mmnv3/__init__.py' in names)


def test_the_page_for_browsers_is_in_it(wheel):
    names = {f'mmnv3/deploy/page/{name}' for name in PAGE}
    assert names & set(wheel.namelist()) == (
        names if 'mmnv3/__init__.py' in wheel.namelist() else set()
    )


def test_configs_and_tools_travel_with_the_package(wheel):
    names = wheel.namelist()
    if 'mmnv3/__init__.py' not in names:  # An editable one leaves them, too.
        assert not [name for name in names if '.mim' in name]
        return
    left_out = {'latency_study.py', 'paper_tables.py'}
    for folder, pattern in (
        ('configs', '*.*'), ('configs/_base_', '*.py'), ('tools', '*.*')
    ):  # fmt: skip
        here = {path.name for path in (ROOT / folder).glob(pattern)} - left_out
        place = f'mmnv3/.mim/{folder}/'
        there = [name.removeprefix(place) for name in names if name.startswith(place)]
        assert here == {name for name in there if '/' not in name}
    assert 'mmnv3/.mim/model-index.yml' in names
    assert not [name for name in names if name.startswith(('studies', 'tests'))]


def test_the_core_asks_for_neither_family(wheel):
    text = wheel.read('mmnv3-0.1.0.dist-info/METADATA').decode()
    needs = message_from_string(text).get_all('Requires-Dist')
    core = [need for need in needs if 'extra ==' not in need]
    assert core and not [need for need in core if need.startswith(FAMILIES)]


def test_the_startup_can_be_switched_off(monkeypatch):
    monkeypatch.setattr(sys, 'meta_path', [])
    for value, finders in (('0', 0), ('1', 1)):
        monkeypatch.setenv('MMNV3_STARTUP', value)
        runpy.run_path(str(ROOT / 'mmnv3/compat/_mmnv3_startup.py'))
        assert len(sys.meta_path) == finders


def test_python_starts_without_us_until_mmengine_is_imported(tmp_path, run_python):
    for name in ('mmnv3.pth', '_mmnv3_startup.py'):
        shutil.copy(ROOT / 'mmnv3/compat' / name, tmp_path)
    code = f"""
import site, sys
sys.modules.pop("_mmnv3_startup", None)
sys.meta_path[:] = [f for f in sys.meta_path if getattr(f, "__name__", "") != "Startup"]
site.addsitedir({str(tmp_path)!r})
print([n for n in ("mmnv3", "torch", "typing") if n in sys.modules])
import torch
import mmengine
print(mmengine.config is sys.modules["mmengine.config"])
from mmengine.logging import HistoryBuffer
print("mmnv3" in sys.modules, HistoryBuffer in torch.serialization.get_safe_globals())
print([f for f in sys.meta_path if getattr(f, "__name__", "") == "Startup"])
import mmcv._ext
"""
    assert run_python(code).splitlines() == ['[]', 'True', 'True True', '[]']
