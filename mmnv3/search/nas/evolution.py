"""Evolution at a latency: the better networks have children, the oldest leave.

Regularised evolution (Real et al., AAAI 2019). A table prices a network at no cost, so
none is evaluated that misses the target, or leaves much of it unused.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import torch

from mmnv3.search.nas.space import Space, Tokens

# Living networks; those that compete to be a parent; choices that a child has of its
# own, at most. For a few hundred samples: Real et al. have 100, 25 and 1 for 20 000.
POPULATION, RIVALS, MUTATIONS = 30, 10, 3
# Networks that are drawn to find a new one of the latency.
_TRIES = 1000
# How much of the latency a network takes at least. Proxies undervalue the slower ones,
# which learn longer: left free, a search leaves a sixth of it unused (docs/search.md).
_LEAST = 0.9


class Evolution:
    """Draws networks of a latency: some at random, then children of the best.

    Args:
        space: Where they are from.
        latency_us: Of a network.
        limit_us: What none shall exceed, or stay below by more than a tenth. Where no
            such network turns up, the nearest of many is drawn, rather a faster one.
    """

    def __init__(
        self, space: Space, latency_us: Callable[[Tokens], float], limit_us: float
    ) -> None:
        self.space, self.latency_us, self.limit_us = space, latency_us, limit_us
        # All that were rewarded, the oldest first.
        self.found: list[tuple[Tokens, float]] = []

    def sample(self, count: int, generator: torch.Generator) -> list[Tokens]:
        """Draws networks, none of which was rewarded before.

        Args:
            count: How many.
            generator: Of everything random.
        """
        drawn: list[Tokens] = []
        known = {tokens for tokens, _ in self.found}
        for _ in range(count):
            tokens = self._draw(known, generator)
            known.add(tokens)
            drawn.append(tokens)
        return drawn

    def update(self, tokens: Sequence[Tokens], rewards: Sequence[float]) -> None:
        """Takes networks into the population.

        Args:
            tokens: The networks.
            rewards: Finite rewards, one for each.
        """
        self.found += zip(map(tuple, tokens), rewards, strict=True)

    def _draw(self, known: set[Tokens], generator: torch.Generator) -> Tokens:
        nearest: tuple[tuple[bool, float], Tokens] | None = None
        for _ in range(_TRIES):
            tokens = self._propose(generator)
            if tokens in known:
                continue
            missed = self._missed(tokens)
            if not any(missed):
                return tokens
            if nearest is None or missed < nearest[0]:
                nearest = missed, tokens
        return nearest[1] if nearest else self._propose(generator)

    def _missed(self, tokens: Tokens) -> tuple[bool, float]:
        """Whether a network is too slow, and by how many microseconds, or too fast."""
        over_us = self.latency_us(tokens) - self.limit_us
        return over_us > 0, max(over_us, (_LEAST - 1) * self.limit_us - over_us, 0.0)

    def _propose(self, generator: torch.Generator) -> Tokens:
        def below(number: int) -> int:
            return int(torch.randint(number, (), generator=generator))

        sizes = self.space.sizes
        if len(self.found) < POPULATION:
            return tuple(map(below, sizes))
        living = self.found[-POPULATION:]
        rivals = [living[below(POPULATION)] for _ in range(RIVALS)]
        child = list(max(rivals, key=lambda rival: rival[1])[0])
        places = [place for place, size in enumerate(sizes) if size > 1]
        for _ in range(1 + below(MUTATIONS)):
            place = places[below(len(places))]
            # Any value but its own.
            child[place] = (child[place] + 1 + below(sizes[place] - 1)) % sizes[place]
        return tuple(child)

    def state_dict(self) -> dict[str, Any]:
        """Everything that it goes on from; lists, which a file of tensors takes."""
        return dict(found=[[list(tokens), reward] for tokens, reward in self.found])

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Goes on from :meth:`state_dict`.

        Raises:
            Exception: When it is damaged.
        """
        found = [(tuple(tokens), float(reward)) for tokens, reward in state['found']]
        for tokens, reward in found:
            self.space.decode(tokens)
            if not math.isfinite(reward):
                raise ValueError('a reward is not finite')
        self.found = found
