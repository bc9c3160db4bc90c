"""What mmengine asks of installed packages, without `pkg_resources`."""

from importlib.metadata import PackageNotFoundError
from pathlib import Path

import mmdet
import mmengine.utils
import pytest
from mmengine.config import Config

from mmnv3.compat import installed_packages

FOLDER = str(Path(mmdet.__file__).parent)


@pytest.mark.parametrize('module', [installed_packages, mmengine.utils])
def test_modules_and_distributions_are_found(module):
    assert module.is_installed('mmdet')
    assert module.is_installed('pytest')
    assert not module.is_installed('no_such_package_at_all')
    assert module.get_installed_path('mmdet') == FOLDER
    with pytest.raises((PackageNotFoundError, ImportError, RuntimeError)):
        module.get_installed_path('no_such_package_at_all')


def test_a_distribution_of_another_name_than_its_module():
    assert installed_packages.package2module('PyYAML') == '_yaml'
    path = Path(installed_packages.get_installed_path('pillow'))
    assert path.name == 'PIL' and path.is_dir()


def test_configs_inherit_from_a_toolbox(tmp_path):
    path = tmp_path / 'config.py'
    path.write_text("_base_ = 'mmdet::_base_/default_runtime.py'\nlog_level = 'DEBUG'")
    config = Config.fromfile(path)
    assert config.default_scope == 'mmdet' and config.log_level == 'DEBUG'


def test_copies_made_before_our_time_are_replaced(run_python):
    code = """
import sys
sys.meta_path[:] = [f for f in sys.meta_path if getattr(f, "__name__", "") != "Startup"]
import mmengine.config.config as config
assert "mmnv3" not in sys.modules
import mmnv3
print(config.is_installed("mmdet"), config.get_installed_path("mmdet"))
"""
    assert run_python(code) == f'True {FOLDER}'
