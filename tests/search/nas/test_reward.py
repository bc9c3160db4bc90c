import pytest

from mmnv3.errors import UserError
from mmnv3.search.nas.reward import make_reward


@pytest.mark.parametrize(
    ('exponent', 'latency', 'expected'),
    [
        ('large', 1000, 0.6),
        # Twice the latency costs about 5 %: 2 ** -0.07 = 0.95264.
        ('large', 2000, 0.6 * 0.952638),
        ('large', 500, 0.6 * 1.049717),
        # 2 ** -0.15 = 0.90125.
        ('small', 2000, 0.6 * 0.901250),
        (-0.15, 2000, 0.6 * 0.901250),
        ('-0.07', 2000, 0.6 * 0.952638),
        ('hard', 500, 0.6),
        ('hard', 2000, 0.3),
        (0, 2000, 0.6),
    ],
)
def test_values(exponent, latency, expected):
    reward = make_reward(1000, exponent)
    assert reward(0.6, latency) == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize('exponent', ['soft', 'nan', 0.07])
def test_impossible_exponents(exponent):
    with pytest.raises(UserError, match='possible: large, small, hard, or a number'):
        make_reward(1000, exponent)


@pytest.mark.parametrize('target', [0, -1, float('nan'), float('inf')])
def test_impossible_targets(target):
    with pytest.raises(UserError, match='must be positive'):
        make_reward(target)
