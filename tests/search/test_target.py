"""Latencies as people write them."""

import pytest

from mmnv3.errors import UserError
from mmnv3.search.target import parse_latency


def test_latencies_are_microseconds():
    assert parse_latency('3.5ms') == 3500
    assert parse_latency(' 800 us') == 800
    assert parse_latency('5.2 ms', own=1000) == 5200
    assert parse_latency('0.7', own=1000) == 700
    assert parse_latency('1s') == 1e6


@pytest.mark.parametrize('text', ['0ms', '-1ms', 'fast', '', '70%'])
def test_what_is_no_latency(text):
    with pytest.raises(UserError, match=r'as 3\.5ms$'):
        parse_latency(text)
    with pytest.raises(UserError, match=r'as 3\.5ms, or a fraction .* as 0\.7'):
        parse_latency(text, own=1000)


def test_a_fraction_needs_a_network():
    with pytest.raises(UserError, match=r"'0\.7' is no latency"):
        parse_latency('0.7')
