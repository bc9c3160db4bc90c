"""Tables 7 and 8: parameters and multiply-adds of the configs, as they are built."""

from pathlib import Path

import pytest
from mmengine.config import Config
from mmengine.registry import init_default_scope

from mmnv3.benchmark import Complexity, count
from mmnv3.registry import MODELS

CONFIGS = Path(__file__).parents[2] / 'configs'

# Table 7: config, parameters in millions as printed, MAdds in billions at 1025x2049.
TABLE_7 = [
    ('raspp_mnv2_full', '2.11', 21.29), ('raspp_mnv2', '1.15', 13.68),
    ('lraspp_mnv2_f256', '1.02', 12.83), ('lraspp_mnv2', '0.98', 12.57),
    ('raspp_mnv3_large_full', '3.60', 18.43), ('raspp_mnv3_large', '1.76', 11.24),
    ('lraspp_mnv3_large_f256', '1.63', 10.33), ('lraspp_mnv3_large', '1.51', 9.74),
    ('lraspp_mnv2_050', '0.28', 4.00), ('lraspp_mnv2_035', '0.16', 2.54),
    ('lraspp_mnv3_small', '0.47', 2.90),
]  # fmt: skip

# Table 8: config, MAdds in billions at 1025x2049 and at half of it.
TABLE_8 = [
    ('lraspp_mnv3_large', 9.74, 2.48), ('lraspp_mnv3_large_os32', 7.74, 1.98),
    ('lraspp_mnv3_small', 2.90, 0.74), ('lraspp_mnv3_small_os32', 2.06, 0.53),
]  # fmt: skip


def count_config(name: str, size: tuple[int, int]) -> Complexity:
    config = Config.fromfile(CONFIGS / f'{name}_cityscapes.py')
    init_default_scope('mmseg')
    return count(MODELS.build(config.model), size)


@pytest.mark.parametrize(('name', 'params', 'madds'), TABLE_7)
def test_table_7(name: str, params: str, madds: float) -> None:
    found = count_config(name, (2049, 1025))
    assert found.madds / 1e9 == pytest.approx(madds, rel=0.05)
    millions = found.params / 1e6
    if name == 'lraspp_mnv2_035':
        # 0.16 M is printed. Halving after the multiplier would give 28 channels for 32
        # and 158 230 parameters, but multiply-adds 5 % below the print; with 32 it is
        # 2 %.
        assert found.params == 168_502
    elif 'mnv2' in name:
        # The print has half a unit of its own.
        assert abs(millions - float(params)) <= 0.01 * float(params) + 0.005
    else:
        assert f'{millions:.2f}' == params


def test_whole_networks_to_the_last_parameter() -> None:
    size = (65, 65)
    assert count_config('lraspp_mnv3_large', size).params == 1_507_198
    assert count_config('lraspp_mnv3_small', size).params == 468_830
    # What torchvision.models.segmentation.lraspp_mobilenet_v3_large(num_classes=19)
    # counts, and the 128 biases that its pooled 1x1 does not have.
    found = Config.fromfile(CONFIGS / 'lraspp_mnv3_large_cityscapes_tv.py')
    assert count(MODELS.build(found.model), size).params == 3_221_198 + 128


@pytest.mark.parametrize(('name', 'whole', 'half'), TABLE_8)
def test_table_8(name: str, whole: float, half: float) -> None:
    for size, printed in (((2049, 1025), whole), ((1025, 513), half)):
        found = count_config(name, size).madds / 1e9
        # The print has half a unit of its own.
        assert abs(found - printed) <= 0.05 * printed + 0.005
