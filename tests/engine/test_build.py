import pytest

from mmnv3.engine.build import build_model
from mmnv3.engine.config import read_config
from mmnv3.search.configs import build
from tests.conftest import ROOT


@pytest.mark.parametrize('build', [build_model, build])
def test_a_config_stays_as_it_is(build) -> None:
    """mmdet's detectors write settings into those of their heads."""
    config = read_config(f'{ROOT}/configs/ssdlite_mnv3_small_demo.py')
    before = config.to_dict()
    build(config)
    assert config.to_dict() == before
