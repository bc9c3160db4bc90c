"""Actions that wait for a module."""

import importlib
import importlib.util
import sys

import pytest

from mmnv3.compat.after_import import after_import


@pytest.fixture
def module(tmp_path, monkeypatch):
    """The name of a module that nobody has imported yet."""
    name = f'awaited_{tmp_path.name.replace("-", "_")}'
    (tmp_path / f'{name}.py').write_text('value = 1')
    monkeypatch.syspath_prepend(tmp_path)
    yield name
    sys.modules.pop(name, None)


def test_acts_after_the_import_and_before_anyone_copies_names(module):
    seen = []
    after_import(module, lambda m: seen.append(m.value))
    after_import(module, lambda m: setattr(m, 'value', 2))
    assert seen == []
    assert importlib.import_module(module).value == 2
    assert seen == [1]


def test_a_mere_look_does_not_act(module):
    seen = []
    after_import(module, seen.append)
    spec = importlib.util.find_spec(module)
    assert spec.origin.endswith(f'{module}.py')
    assert seen == [] and module not in sys.modules
    importlib.import_module(module)
    assert len(seen) == 1


def test_acts_at_once_on_what_is_imported_already(module):
    imported = importlib.import_module(module)
    seen = []
    after_import(module, seen.append)
    assert seen == [imported]


def test_leaves_the_loader_as_python_made_it(module):
    after_import(module, lambda m: None)
    loader = importlib.import_module(module).__spec__.loader
    assert type(loader) is importlib.machinery.SourceFileLoader
    assert loader.get_source(module) == 'value = 1'


def test_absent_modules_stay_absent():
    after_import('no_such_module_at_all', lambda m: None)
    with pytest.raises(ModuleNotFoundError, match='no_such_module_at_all'):
        importlib.import_module('no_such_module_at_all')
