"""Files as an accident or an adversary leaves them."""

import numpy as np


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
