"""What this machine's processor is, and what it can compute by itself."""

from __future__ import annotations

import os
import platform
import re
from pathlib import Path

import torch

# Names of the instructions that multiply bfloat16: x86's, and Arm's.
_BF16 = ('avx512_bf16', 'amx_bf16', 'bf16', 'sve_bf16')


def has_bf16() -> bool:
    """Whether the processor multiplies bfloat16 by itself.

    Where it does not, libraries convert to single precision and back, which takes
    longer than single precision alone.
    """
    # Since PyTorch 2.9; before that, what its own tests ask.
    ask = getattr(torch.cpu, 'get_capabilities', None)
    if ask is None:
        return bool(torch.cpu._is_avx512_bf16_supported())
    found = ask()
    return any(found.get(name, False) for name in _BF16)


def usable_cores() -> int:
    """Cores that this process may use."""
    if hasattr(os, 'sched_getaffinity'):  # Not everywhere.
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def processor_name() -> str:
    """The processor's name; its architecture where the system says no more."""
    try:
        found = re.search(
            r'^model name\s*:\s*(.+)$',
            Path('/proc/cpuinfo').read_text(),
            re.MULTILINE,
        )
    except OSError:
        found = None
    return found.group(1) if found else platform.processor() or platform.machine()
