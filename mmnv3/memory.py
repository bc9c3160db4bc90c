"""What the C library does with freed memory."""

from __future__ import annotations

import ctypes

# glibc's numbers for `mallopt` (malloc.h), and what it takes them for.
_M_TRIM_THRESHOLD, _M_MMAP_MAX = -1, -4
_SETTINGS = ((_M_MMAP_MAX, 0), (_M_TRIM_THRESHOLD, -1))


def keep_freed_memory() -> bool:
    """Tells glibc's allocator to return no memory to the system.

    By default it returns every large block at once and gets it anew, page by page: a
    third of a training iteration, and half of the time that eager PyTorch takes for a
    large picture. The process then holds its peak until it ends.

    Returns:
        Whether it was told; False where there is no glibc.
    """
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (AttributeError, OSError, TypeError):  # macOS, musl; Windows.
        return False
    return all([mallopt(name, value) for name, value in _SETTINGS])
