"""What the processor can do is what the system says of it."""

from __future__ import annotations

from pathlib import Path

import pytest

from mmnv3.cpu import has_bf16

_CPUINFO = Path('/proc/cpuinfo')


@pytest.mark.skipif(not _CPUINFO.exists(), reason='the system has no /proc/cpuinfo')
def test_bf16_is_what_the_system_says() -> None:
    words = set(_CPUINFO.read_text().split())
    assert has_bf16() == bool(words & {'avx512_bf16', 'amx_bf16', 'bf16', 'svebf16'})
