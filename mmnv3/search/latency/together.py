"""What layers cost together, by what they cost alone."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.optimize import nnls

from mmnv3.search.latency.layers import LayerShape

# How strongly a factor of 1 is believed in, beside one network's relative error. Of a
# single network everything that its layers do not explain is then its rest; a few of
# different widths overrule it.
_BELIEF = 0.05


@dataclass(frozen=True)
class NetworkTime:
    """A network that was timed as a whole.

    Args:
        rest: What it does beside its layers, as a layer of the kind ``'rest'``.
        alone: Microseconds of its layers, each timed alone.
        together: Microseconds of the network.
    """

    rest: LayerShape
    alone: float
    together: float


@dataclass(frozen=True)
class Company:
    """How the layers of a network cost more, or less, than alone.

    Alone a layer finds its input where copies of it just read it, and its weights
    nearer than in a network, whose other layers pass through the same caches. That is
    much alike for all layers, while boxes, probabilities and the call itself cost the
    same whatever the widths are: ``factor * alone + rest``.

    Args:
        factor: Of what layers cost alone.
        rests: Microseconds of each kind of rest.
    """

    factor: float
    rests: dict[LayerShape, float]

    @classmethod
    def fit(cls, networks: Sequence[NetworkTime]) -> Company:
        """Finds the least relative errors; without networks, the sum of the layers."""
        rests = list(dict.fromkeys(network.rest for network in networks))
        rows = [[_BELIEF] + [0.0] * len(rests)]
        wanted = [_BELIEF]
        for network in networks:
            shares = [float(network.rest == rest) for rest in rests]
            terms = np.array([network.alone, *shares])
            rows.append(list(terms / network.together))
            wanted.append(1.0)
        factor, *found = nnls(np.array(rows), np.array(wanted))[0]
        return cls(float(factor), dict(zip(rests, map(float, found))))
