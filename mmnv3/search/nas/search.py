"""The sample-evaluate-update loop (MnasNet, Section 4.2)."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path

import torch

from mmnv3.arch import NetSpec
from mmnv3.errors import UserError
from mmnv3.search.nas.controller import Controller
from mmnv3.search.nas.history import (
    Folder,
    Sample,
    read_samples,
    write_samples,
)
from mmnv3.search.nas.ppo import PPO, PPOSettings
from mmnv3.search.nas.reward import Reward
from mmnv3.search.nas.space import Space, Tokens


@dataclass(frozen=True)
class Outcome:
    """What evaluating a network came to.

    Args:
        accuracy: 0 to 1, or None for a failure; not a number counts as one.
        problem: Why it failed.
    """

    accuracy: float | None
    problem: str | None = None


# Microseconds of a network.
Price = Callable[[NetSpec], float]
# Takes networks and yields the place of each and its outcome, as they come.
Evaluate = Callable[[Sequence[NetSpec]], Iterator[tuple[int, Outcome]]]


@dataclass(frozen=True)
class SearchSettings:
    """What a search is.

    Args:
        reward: What a network is worth.
        samples: How many networks are drawn.
        batch_size: Networks from one update of the controller to the next.
        seed: Of the controller's weights and of what it draws.
        ppo: How it learns.
        conditions: Whatever else makes accuracies and latencies comparable, by the name
            that a person knows it by: data, iterations, table.
    """

    reward: Reward
    samples: int = 100
    batch_size: int = 10
    seed: int = 0
    ppo: PPOSettings = field(default_factory=PPOSettings)
    conditions: dict[str, str | int | float] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if not 2 <= self.batch_size <= self.samples:
            raise UserError(
                f'--batch-size {self.batch_size} with --samples {self.samples}; '
                'a batch has at least 2 samples and at most all of them'
            )


def check_target(space: Space, price: Price, target: float) -> tuple[float, float]:
    """Looks whether a target divides a space.

    Args:
        space: The space.
        price: The latency of a network, microseconds.
        target: Microseconds.

    Returns:
        Latencies of the smallest network and of the largest, microseconds.

    Raises:
        UserError: When no network of the space reaches the target, or all meet it.
    """
    least = space.uniform(
        op='separable', kernel=3, se=0.0, residual=False, filters=0.75, layers=-1
    )
    most = [
        space.uniform(op=op, kernel=5, se=0.25, residual=True, filters=1.25, layers=1)
        for op in ('conv', 'bottleneck6')
    ]
    fastest = price(space.decode(least))
    slowest = max(price(space.decode(tokens)) for tokens in most)
    shown, limits = (
        f'{target / 1e3:.3g} ms',
        f'choose one between {fastest / 1e3:.3g} and {slowest / 1e3:.3g} ms',
    )
    if target < fastest:
        raise UserError(
            f'a target of {shown} cannot be reached by the smallest network of the '
            f'space {space.name!r}; {limits}'
        )
    if target >= slowest:
        raise UserError(
            f'a target of {shown} is already met by the largest network of the space '
            f'{space.name!r}; {limits}'
        )
    return fastest, slowest


class Search:
    """A search, new or continued.

    Args:
        space: Where to search.
        price: The latency of a network, microseconds.
        evaluate: The accuracy of networks.
        settings: What is searched for.
        folder: Where everything is kept. A search that was begun there goes on.
        report: Is told of every sample.

    Raises:
        UserError: When the folder has a search of other settings.
    """

    def __init__(
        self,
        space: Space,
        price: Price,
        evaluate: Evaluate,
        settings: SearchSettings,
        folder: str | Path,
        report: Callable[[Sample], None] = lambda sample: None,
    ) -> None:
        self.space, self.price, self.evaluate = space, price, evaluate
        self.settings, self.report = settings, report
        self.folder = Folder(folder)
        self.samples: list[Sample] = []
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(settings.seed)
            kinds = [len(options) for options in space.choices.values()]
            controller = Controller(kinds, len(space.stages))
        self.ppo = PPO(controller, settings.ppo)
        self.generator = torch.Generator().manual_seed(settings.seed)
        self.known: dict[NetSpec, Outcome] = {}
        self._resume()

    def run(self) -> list[Sample]:
        """Draws, evaluates and learns until there are enough samples.

        Returns:
            All samples, those of earlier runs included.

        Raises:
            UserError: When a whole batch failed, or the folder cannot be written.
        """
        while len(self.samples) < self.settings.samples:
            count = min(
                self.settings.batch_size, self.settings.samples - len(self.samples)
            )
            drawn = self.ppo.controller.sample(count, self.generator).tolist()
            batch = self._evaluate([tuple(tokens) for tokens in drawn])
            learnt = [sample for sample in batch if sample.reward is not None]
            if not learnt:
                raise UserError(
                    f'none of {len(batch)} networks got an accuracy, the last because: '
                    f'{batch[-1].problem}; lower the learning rate or train longer'
                )
            self.ppo.update(
                [sample.tokens for sample in learnt],
                [sample.reward for sample in learnt],
            )
            self.samples += batch
            self.folder.save(self._state())
        return self.samples

    def _evaluate(self, batch: Sequence[Tokens]) -> list[Sample]:
        """Makes samples of tokens; no network is evaluated twice."""
        specs = [self.space.decode(tokens) for tokens in batch]
        new = list(dict.fromkeys(spec for spec in specs if spec not in self.known))
        samples: dict[int, Sample] = {}

        def finish(spec: NetSpec) -> None:
            # A network is reported where it was first drawn, and then its repetitions.
            for place, other in enumerate(specs):
                if other == spec and place not in samples:
                    samples[place] = self._sample(place, batch[place], spec)
                    self.report(samples[place])

        for spec in dict.fromkeys(specs):
            if spec in self.known:
                finish(spec)
        for index, outcome in self.evaluate(new):
            spec = new[index]
            self.known[spec] = _finite(outcome)
            first = specs.index(spec)
            self.folder.append(self._sample(first, batch[first], spec))
            finish(spec)
        return [samples[place] for place in range(len(batch))]

    def _sample(self, place: int, tokens: Tokens, spec: NetSpec) -> Sample:
        outcome, latency = self.known[spec], self.price(spec)
        return Sample(
            len(self.samples) + place,
            tokens,
            latency,
            outcome.accuracy,
            None
            if outcome.accuracy is None
            else self.settings.reward(outcome.accuracy, latency),
            outcome.problem,
        )

    def _resume(self) -> None:
        state, history = self.folder.load(), self.folder.history()
        identity = self._identity()
        if state is None:
            # Written first, so that the history is never of unknown settings.
            if history:
                raise UserError(
                    f'{self.folder.path} has a history but no state of a search; '
                    'choose another --work-dir'
                )
            self.folder.save(self._state())
            return
        then = state['identity']
        if then != identity:
            name = next(
                name
                for name in [*then, *identity]
                if then.get(name) != identity.get(name)
            )
            raise UserError(
                f'{self.folder.path} has a search with {name} = {then.get(name)}, not '
                f'{identity.get(name)}; choose another --work-dir'
            )
        self.ppo.load_state_dict(state['ppo'])
        self.generator.set_state(state['generator'])
        self.samples = read_samples(state['samples'])
        # Of a killed batch, failures are tried again: a machine may have been at fault.
        finite = [sample for sample in history if sample.accuracy is not None]
        for sample in [*finite, *self.samples]:
            self.known[self.space.decode(sample.tokens)] = Outcome(
                sample.accuracy, sample.problem
            )

    def _identity(self) -> dict[str, str | int | float]:
        """What must be the same for a search to go on; more samples may be asked."""
        settings = self.settings
        return {
            'space': self.space.name,
            'target (µs)': settings.reward.target,
            'exponents': f'{settings.reward.met:g}, {settings.reward.missed:g}',
            'batch size': settings.batch_size,
            'seed': settings.seed,
            **asdict(settings.ppo),
            **settings.conditions,
        }

    def _state(self) -> dict:
        return dict(
            identity=self._identity(),
            ppo=self.ppo.state_dict(),
            generator=self.generator.get_state(),
            samples=write_samples(self.samples),
        )


def _finite(outcome: Outcome) -> Outcome:
    if outcome.accuracy is None or math.isfinite(outcome.accuracy):
        return outcome
    return Outcome(None, outcome.problem or f'its accuracy is {outcome.accuracy}')
