"""Prices between the widths that were measured."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

import numpy as np
from scipy.optimize import nnls

from mmnv3.search.latency.layers import CONV, LINEAR, SQUEEZE_EXCITE

# Numbers that a processor's instruction takes at once: kernels do whole vectors, and
# so 24 channels take as long as 32.
_VECTOR = 16


@dataclass(frozen=True)
class Law:
    """What a layer costs by its widths, as measured layers of one group say.

    A sum of what any layer costs, of each width, and of their product, each also in
    whole vectors, is fitted to the relative errors with factors of at least zero. What
    a measured layer costs more or less than that is then spread over its neighbours,
    by the fourth power of their distance in powers of two.

    Args:
        kind: Kind of the layers.
        prices: Microseconds by widths, as :attr:`LayerShape.widths` has them.
    """

    kind: str
    prices: Mapping[tuple[int, ...], float]
    _factors: np.ndarray = field(init=False, repr=False)
    _points: np.ndarray = field(init=False, repr=False)
    _ratios: np.ndarray = field(init=False, repr=False)

    def __post_init__(self) -> None:
        us = np.maximum(np.array(list(self.prices.values()), float), 1e-3)
        terms = np.array([list(_terms(self.kind, widths)) for widths in self.prices])
        factors, _ = nnls(terms / us[:, None], np.ones(len(us)))
        fitted = terms @ factors
        object.__setattr__(self, '_factors', factors)
        object.__setattr__(self, '_points', np.log2(list(self.prices)))
        object.__setattr__(self, '_ratios', np.log(us / fitted))

    def covers(self, widths: tuple[int, ...]) -> bool:
        """Whether no width is beyond those that were measured."""
        low = np.min(list(self.prices), axis=0)
        high = np.max(list(self.prices), axis=0)
        return bool(np.all((low <= widths) & (widths <= high)))

    def __call__(self, widths: tuple[int, ...]) -> float:
        """Microseconds of a layer."""
        if widths in self.prices:
            return self.prices[widths]
        fitted = float(np.dot(list(_terms(self.kind, widths)), self._factors))
        distances = np.sum((self._points - np.log2(widths)) ** 2, axis=1)
        weights = 1 / np.maximum(distances, 1e-9) ** 2
        return fitted * math.exp(float(weights @ self._ratios / weights.sum()))


def _terms(kind: str, widths: tuple[int, ...]) -> Iterator[float]:
    """What a price is a sum of."""
    vectors = [-(-width // _VECTOR) * _VECTOR for width in widths]
    yield 1.0
    yield from widths
    yield from vectors
    if kind in (CONV, LINEAR, SQUEEZE_EXCITE):
        yield math.prod(widths)
        yield widths[0] * vectors[1]
        yield math.prod(vectors)
