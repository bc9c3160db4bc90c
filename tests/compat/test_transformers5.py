"""mmpretrain and mmseg beside a transformers that is too new for them."""

import pytest


@pytest.fixture
def transformers5(tmp_path):
    """A folder with a distribution that looks like transformers 5 to mmpretrain."""
    folder = tmp_path / 'first'
    info = folder / 'transformers-5.0.0.dist-info'
    info.mkdir(parents=True)
    (info / 'METADATA').write_text(
        'Metadata-Version: 2.1\nName: transformers\nVersion: 5.0.0'
    )
    package = folder / 'transformers'
    package.mkdir()
    (package / '__init__.py').write_text("__version__ = '5.0.0'")
    (package / 'modeling_utils.py').write_text('class PreTrainedModel: ...')
    return folder


def test_both_import_and_multimodal_models_say_what_they_need(
    run_python, transformers5
):
    code = """
import mmnv3, transformers
from mmpretrain.models import MobileNetV3
import mmseg.models
print(transformers.__version__, MobileNetV3.__module__)
from mmpretrain.registry import MODELS
try:
    MODELS.build(dict(type="BlipCaption"))
except ImportError as error:
    print(error)
"""
    printed = run_python(code, first=(transformers5,)).splitlines()
    assert printed[0] == '5.0.0 mmpretrain.models.backbones.mobilenet_v3'
    assert 'multi-modal' in ' '.join(printed[1:])
