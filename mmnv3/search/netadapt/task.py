"""What a NetAdapt search is asked for, and whether it can come to anything."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from torch import Tensor

from mmnv3.arch import NetSpec
from mmnv3.errors import UserError
from mmnv3.search.netadapt.proposals import Price, Rules, narrowest
from mmnv3.search.netadapt.store import Point
from mmnv3.search.runs import Budget, Trial

State = Mapping[str, Tensor]
# Trains the network that a proposal is, from the weights of what it was cut from.
Attempt = Callable[['Job'], Trial]

CRITERIA: dict[str, Callable[[Point, Point], float]] = {
    # MobileNetV3: the accuracy that a microsecond costs, or brings.
    'ratio': lambda before, after: (
        (after.accuracy - before.accuracy) / abs(before.latency - after.latency)
    ),
    # NetAdapt's own.
    'accuracy': lambda before, after: after.accuracy,
}


@dataclass(frozen=True)
class Job:
    """A network to try.

    Args:
        old: The network that it is cut from.
        new: The network.
        state: The weights of the old one.
        budget: Of the training.
        work_dir: For the log.
    """

    old: NetSpec
    new: NetSpec
    state: State
    budget: Budget
    work_dir: Path


@dataclass(frozen=True)
class Search:
    """What a search is asked for.

    Args:
        seed: The network to start from.
        state: Its weights.
        price: Microseconds of a network.
        attempt: Trains a proposal.
        target: Microseconds to reach.
        budget: Of every proposal.
        work_dir: Where everything goes, and where an interrupted search is found.
        delta: What a step cuts at least, as a fraction of the seed's latency; the
            paper's 0.01.
        criterion: One of :data:`CRITERIA`.
        rules: How the network is built.
        ray: See :func:`mmnv3.search.pool.run_jobs`.
        report: Gets a line whenever something is done.
    """

    seed: NetSpec
    state: State
    price: Price
    attempt: Attempt
    target: float
    budget: Budget
    work_dir: Path
    delta: float = 0.01
    criterion: str = 'ratio'
    rules: Rules = field(default_factory=Rules)
    ray: str | None = None
    report: Callable[[str], Any] = print

    def settings(self) -> dict[str, Any]:
        """Whatever the outcome depends on, to tell one search from another."""
        digest = hashlib.sha256()
        for name, tensor in self.state.items():
            digest.update(name.encode() + tensor.cpu().numpy().tobytes())
        return dict(
            seed=asdict(self.seed),
            weights=digest.hexdigest(),
            latency=round(self.price(self.seed), 3),
            target=round(self.target, 3),
            delta=self.delta,
            criterion=self.criterion,
            budget=asdict(self.budget),
        )


def check(search: Search) -> None:
    """Looks at whether a search can come to anything.

    Raises:
        UserError: When the target is met already or cannot be reached, or for a
            setting that is impossible.
    """
    if search.criterion not in CRITERIA:
        raise UserError(
            f'criterion={search.criterion!r} is unknown; possible: '
            f'{", ".join(CRITERIA)}'
        )
    if not 0 < search.delta < 1:
        raise UserError(f'delta={search.delta} is impossible; possible: 0 to 1')
    latency = search.price(search.seed)
    if search.target >= latency:
        raise UserError(
            f'the target of {ms(search.target)} is already met: {search.seed.name} '
            f'takes {ms(latency)}; choose a lower one'
        )
    least = search.price(narrowest(search.seed, search.rules))
    if search.target < least:
        raise UserError(
            f'the target of {ms(search.target)} cannot be reached: with all widths at '
            f'their least {search.seed.name} takes {ms(least)}; choose a higher one'
        )


def ms(latency: float) -> str:
    """Microseconds as a person reads them."""
    return f'{latency / 1000:.3g} ms'
