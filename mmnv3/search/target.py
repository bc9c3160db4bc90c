"""Latencies as people write them on a command line."""

from __future__ import annotations

import re

from mmnv3.errors import UserError

_MICROSECONDS = {'us': 1, 'µs': 1, 'ms': 1e3, 's': 1e6}


def parse_latency(text: str, own: float | None = None) -> float:
    """Reads a latency such as ``'3.5ms'``, or as ``'0.7'`` of a network's own.

    Args:
        text: A number and ``us``, ``ms`` or ``s``; or a number alone.
        own: Microseconds that a number alone is a fraction of; None where there is no
            such network.

    Returns:
        Microseconds.

    Raises:
        UserError: When it is none, or not positive.
    """
    found = re.fullmatch(r'\s*(\d+\.?\d*|\.\d+)\s*(us|µs|ms|s)?\s*', text)
    unit = found and (_MICROSECONDS[found[2]] if found[2] else own)
    value = unit and float(found[1]) * unit
    if not value:
        also = '' if own is None else ", or a fraction of the seed's, as 0.7"
        raise UserError(
            f'--target-latency {text!r} is no latency; give a positive number and its '
            f'unit, as 3.5ms{also}'
        )
    return value
