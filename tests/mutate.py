"""Files as an accident or an adversary leaves them."""

import random
from typing import Any

import numpy as np

# What stands in place of a value.
ODD: list[Any] = [
    None, True, False, 0, -1, 1, 7, 10**9, 0.5, -0.0, 1e300, float('nan'), float('inf'),
    '', 'x', 'detection', 'plain', [], [1], [0, 0], [[]], {}, {'type': 'Pad'},
    ['a', 'b'], [1, 3, 12, 16], [2, 3, 12, 16], '0.5', [1.5, 2, 3], [0, 0, 0],
]  # fmt: skip


def broken_value(rng: random.Random, value: Any) -> Any:
    """A value of JSON of which some part is another."""
    if isinstance(value, dict) and value and rng.random() < 0.9:
        key = rng.choice(list(value))
        kept = {k: v for k, v in value.items() if k != key or rng.random() < 0.9}
        return {**kept, key: broken_value(rng, value[key])} if key in kept else kept
    if isinstance(value, list) and value and rng.random() < 0.7:
        at = rng.randrange(len(value))
        tail = [] if rng.random() < 0.1 else value[at + 1 :]
        return [*value[:at], broken_value(rng, value[at]), *tail]
    return rng.choice(ODD)


def mutate(content: bytes, seed: int) -> bytes:
    """Changes a file in one to four places, the same ones for the same seed."""
    rng = np.random.default_rng(seed)
    data = bytearray(content)
    for _ in range(rng.integers(1, 5)):
        start, end = sorted(rng.integers(0, len(data) + 1, 2))
        short = slice(start, start + int(rng.integers(1, 9)))
        match rng.integers(7):
            case 0:
                data = data[:start]
            case 1:
                del data[short]
            case 2:
                data[start:start] = rng.bytes(rng.integers(1, 9))
            case 3:
                data[short] = rng.bytes(len(data[short]))
            case 4:
                # The numbers that formats count with.
                data[short] = bytes([rng.choice([0, 1, 127, 128, 255])]) * len(
                    data[short]
                )
            case 5:
                data += data[start:end]
            case 6:
                data[start:start] = data[start:end]
    return bytes(data)
