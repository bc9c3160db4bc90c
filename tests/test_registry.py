"""Names in configs, under the default scope of each toolbox."""

import pytest
from mmengine.registry import MODELS, DefaultScope

from mmnv3 import registry
from mmnv3.models import MobileNetV3


@pytest.mark.parametrize('scope', ['mmdet', 'mmseg', 'mmpretrain', 'mmengine'])
def test_our_prefix_resolves_under_any_default_scope(scope):
    with DefaultScope.overwrite_default_scope(scope):
        assert type(MODELS.build({'type': 'mmnv3.MobileNetV3'})) is MobileNetV3


@pytest.mark.parametrize('scope', ['mmdet', 'mmseg', 'mmpretrain', 'mmengine'])
@pytest.mark.parametrize(
    ('name', 'loss', 'package'),
    [
        ('SSDLiteHead', 'loss_bbox', 'mmdet'),
        ('LRASPPHead', 'loss_decode', 'mmseg'),
        ('RASPPHead', 'loss_decode', 'mmseg'),
        ('MobileNetV3ClsHead', 'loss_module', 'mmpretrain'),
    ],
)
def test_heads_build_their_own_losses_under_any_default_scope(
    scope, name, loss, package
):
    with DefaultScope.overwrite_default_scope(scope):
        head = MODELS.build({'type': f'mmnv3.{name}'})
    assert type(getattr(head, loss)).__module__.startswith(f'{package}.')


def test_the_bare_name_is_ours_in_mmdet():
    from mmdet.registry import MODELS as MMDET_MODELS

    with DefaultScope.overwrite_default_scope('mmdet'):
        assert type(MMDET_MODELS.build({'type': 'MobileNetV3'})) is MobileNetV3
        assert type(MODELS.build({'type': 'MobileNetV3'})) is MobileNetV3


@pytest.mark.parametrize('scope', ['mmseg', 'mmpretrain'])
def test_the_bare_name_stays_theirs_elsewhere(scope):
    with DefaultScope.overwrite_default_scope(scope):
        theirs = type(MODELS.build({'type': 'MobileNetV3'}))
    assert theirs.__module__.startswith(f'{scope}.models.backbones')


def test_every_location_can_be_imported():
    children = [
        r for r in vars(registry).values() if getattr(r, 'scope', '') == 'mmnv3'
    ]
    assert len(children) == 10
    for child in children:
        child.import_from_location()


def test_importing_imports_no_toolbox_and_a_users_own_network_stays(run_python):
    code = """
import sys, mmnv3
print([n for n in ("torch", "numpy", "mmengine", "mmdet") if n in sys.modules])
from mmdet.registry import MODELS
print([n for n in ("mmdet.models", "mmnv3.models", "mmcv.ops") if n in sys.modules])
@MODELS.register_module()
class MobileNetV3: ...
print(MODELS.get("MobileNetV3") is MobileNetV3)
print(MODELS.get("mmnv3.MobileNetV3").__module__)
"""
    expected = ['[]', '[]', 'True', 'mmnv3.models.backbone']
    # OneDL's mmdet prints what it has not found.
    said = [line for line in run_python(code).splitlines() if 'OneDL' not in line]
    assert said == expected


def test_a_registry_that_has_been_read_before_is_read_again(run_python):
    code = """
import sys
from types import ModuleType
sys.meta_path[:] = [f for f in sys.meta_path if getattr(f, "__name__", "") != "Startup"]
from mmdet.registry import MODELS
sys.modules["mmdet.models"] = ModuleType("mmdet.models")  # as if read to the end
assert MODELS.get("MobileNetV3") is None and "mmnv3" not in sys.modules
del sys.modules["mmdet.models"]
import mmnv3
print(MODELS.get("MobileNetV3").__module__)
"""
    assert run_python(code) == 'mmnv3.models.backbone'
