"""The sample-evaluate-update loop (MnasNet, Section 4.2), for any strategy.

A search leaves, and continues from::

    settings.json            what it was started with
    state.pt                 everything up to the last whole batch
    history.jsonl            a line as soon as a network is evaluated, so that a kill
                             loses only the evaluation that was under way
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Protocol, TypeVar

import torch

from mmnv3.arch import NetSpec
from mmnv3.errors import UserError
from mmnv3.json_files import is_number
from mmnv3.search.folder import Folder
from mmnv3.search.nas.controller import PPO, Controller, PPOSettings
from mmnv3.search.nas.evolution import Evolution
from mmnv3.search.nas.reward import Reward
from mmnv3.search.nas.space import Space, Tokens
from mmnv3.search.target import Price, ms

STATE = 'state.pt'
HISTORY = 'history.jsonl'


@dataclass(frozen=True)
class Sample:
    """A network that the controller drew.

    Args:
        index: Its place in the search, from 0.
        tokens: Its choices.
        latency_us: Its price.
        accuracy: 0 to 1; None where it has none.
        reward: What it is worth; None where it has no accuracy.
        problem: Why it has none.
    """

    index: int
    tokens: Tokens
    latency_us: float
    accuracy: float | None = None
    reward: float | None = None
    problem: str | None = None

    @classmethod
    def of_row(cls, row: Mapping[str, Any]) -> Sample:
        """A sample from what :func:`dataclasses.asdict` made of it.

        Raises:
            ValueError: When it is none.
        """
        if not isinstance(row, Mapping) or set(row) != set(cls.__dataclass_fields__):
            raise ValueError('a row is no sample')
        if not (
            type(row['index']) is int
            and isinstance(row['tokens'], list | tuple)
            and all(type(token) is int and token >= 0 for token in row['tokens'])
            and is_number(row['latency_us'])
            and row['latency_us'] > 0
            and all(
                row[key] is None or is_number(row[key])
                for key in ('accuracy', 'reward')
            )
            and (row['accuracy'] is None) == (row['reward'] is None)
            and isinstance(row['problem'], str | None)
        ):
            raise ValueError(f'sample {row["index"]} has impossible values')
        return cls(**{**row, 'tokens': tuple(row['tokens'])})


class Measured(Protocol):
    """A network of which two figures are known."""

    @property
    def latency_us(self) -> float:
        """Its latency."""

    @property
    def accuracy(self) -> float | None:
        """Its accuracy; None where it has none."""


AnyMeasured = TypeVar('AnyMeasured', bound=Measured)


def pareto(networks: Iterable[AnyMeasured]) -> list[AnyMeasured]:
    """The networks that no other beats in both latency and accuracy.

    Returns:
        By latency; of equals the first. Accuracy rises with it.
    """
    front: list[AnyMeasured] = []
    highest = -math.inf
    rows = [
        (network.latency_us, -network.accuracy, network)
        for network in networks
        if network.accuracy is not None
    ]
    for _, negative, network in sorted(rows, key=lambda row: row[:2]):
        if -negative > highest:
            highest = -negative
            front.append(network)
    return front


def best(samples: Iterable[Sample]) -> Sample:
    """The sample of the highest reward; of equals the first.

    Raises:
        UserError: When none has a reward.
    """
    rated = ranked(samples)
    if not rated:
        raise UserError('no sample has a reward yet; take more --samples')
    return rated[0]


def ranked(samples: Iterable[Sample]) -> list[Sample]:
    """The samples that have a reward, the highest first; of equals in their order."""
    rows = [
        (-sample.reward, sample.index, sample)
        for sample in samples
        if sample.reward is not None
    ]
    return [sample for *_, sample in sorted(rows, key=lambda row: row[:2])]


@dataclass(frozen=True)
class Outcome:
    """What evaluating a network came to.

    Args:
        accuracy: 0 to 1, or None for a failure; not a number counts as one.
        problem: Why it failed.
    """

    accuracy: float | None
    problem: str | None = None


# Takes the tokens of networks and yields the place of each and its outcome, as they
# come.
Evaluate = Callable[[Sequence[Tokens]], Iterator[tuple[int, Outcome]]]


class Strategy(Protocol):
    """Draws networks, and learns from what they were worth."""

    def sample(self, count: int, generator: torch.Generator) -> list[Tokens]:
        """Draws so many."""

    def update(self, tokens: Sequence[Tokens], rewards: Sequence[float]) -> None:
        """Learns from finite rewards, one for each."""

    def state_dict(self) -> dict[str, Any]:
        """Everything that it goes on from."""

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Goes on from it; raises anything when it is damaged."""


EVOLUTION, CONTROLLER = 'evolution', 'ppo'
STRATEGIES = (EVOLUTION, CONTROLLER)


@dataclass(frozen=True)
class NASSettings:
    """What a search is.

    Args:
        reward: What a network is worth.
        samples: How many networks are drawn.
        batch_size: Networks that are drawn before anything is learnt from them.
        seed: Of all that is random.
        strategy: One of :data:`STRATEGIES`: evolution at the target latency, or
            the paper's controller, trained by PPO.
        ppo: How the controller learns.
    """

    reward: Reward
    samples: int = 100
    batch_size: int = 10
    seed: int = 0
    strategy: str = EVOLUTION
    ppo: PPOSettings = field(default_factory=PPOSettings)

    def __post_init__(self) -> None:
        if self.strategy not in STRATEGIES:
            raise UserError(
                f'strategy={self.strategy!r} is unknown; possible: '
                f'{", ".join(STRATEGIES)}'
            )
        if not 2 <= self.batch_size <= self.samples:
            raise UserError(
                f'--batch-size {self.batch_size} with --samples {self.samples}; '
                'a batch has at least 2 samples and at most all of them'
            )


def check_target(space: Space, price: Price, target_us: float) -> tuple[float, float]:
    """Looks whether a target divides a space.

    Args:
        space: The space.
        price: Microseconds of a network.
        target_us: The target latency.

    Returns:
        Latencies of the smallest network and of the largest, microseconds.

    Raises:
        UserError: When no network of the space reaches the target, or all meet it.
    """
    fastest_us, slowest_us = (
        pick(
            price(space.decode(space.extreme(op, largest)))
            for op in space.choices['op']
        )
        for pick, largest in ((min, False), (max, True))
    )
    limits = f'choose one between {fastest_us / 1e3:.3g} and {slowest_us / 1e3:.3g} ms'
    if target_us < fastest_us:
        raise UserError(
            f'a target of {ms(target_us)} cannot be reached by the smallest network of '
            f'the space {space.name!r}; {limits}'
        )
    if target_us >= slowest_us:
        raise UserError(
            f'a target of {ms(target_us)} is already met by the largest network of the '
            f'space {space.name!r}; {limits}'
        )
    return fastest_us, slowest_us


class NASearch:
    """A search, new or continued.

    Args:
        space: Where to search.
        price: Microseconds of a network.
        evaluate: The accuracy of networks.
        settings: What is searched for.
        work_dir: Where everything is kept. A search that was begun there goes on.
        conditions: Whatever else accuracies and latencies depend on: data, budget,
            table.
        report: Is told of every sample.

    Raises:
        UserError: When the folder has a search of other settings.
    """

    def __init__(
        self,
        space: Space,
        price: Price,
        evaluate: Evaluate,
        settings: NASSettings,
        work_dir: str | Path,
        conditions: Mapping[str, Any] | None = None,
        report: Callable[[Sample], None] = lambda sample: None,
    ) -> None:
        self.space, self.price, self.evaluate = space, price, evaluate
        self.settings, self.report = settings, report
        self.folder = Folder(work_dir)
        self.samples: list[Sample] = []
        self.strategy = self._new_strategy()
        self.generator = torch.Generator().manual_seed(settings.seed)
        self.known: dict[NetSpec, Outcome] = {}
        self._resume(conditions or {})

    def _new_strategy(self) -> Strategy:
        space, settings = self.space, self.settings
        if settings.strategy == EVOLUTION:
            target_us = settings.reward.target_us
            return Evolution(
                space, lambda tokens: self.price(space.decode(tokens)), target_us
            )
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(settings.seed)
            kinds = [len(options) for options in space.choices.values()]
            controller = Controller(kinds, len(space.stages))
        return PPO(controller, settings.ppo)

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
            batch = self._evaluate(self.strategy.sample(count, self.generator))
            learnt = [
                (sample.tokens, sample.reward)
                for sample in batch
                if sample.reward is not None
            ]
            if not learnt:
                raise UserError(
                    f'none of {len(batch)} networks got an accuracy, the last because: '
                    f'{batch[-1].problem}; raise --iters or lower the learning rate, '
                    'in another --work-dir'
                )
            tokens, rewards = zip(*learnt)
            self.strategy.update(tokens, rewards)
            self.samples += batch
            self._save()
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
        for index, outcome in self.evaluate([batch[specs.index(spec)] for spec in new]):
            spec = new[index]
            self.known[spec] = outcome
            first = specs.index(spec)
            self.folder.append_row(
                HISTORY, asdict(self._sample(first, batch[first], spec))
            )
            finish(spec)
        return [samples[place] for place in range(len(batch))]

    def _sample(self, place: int, tokens: Tokens, spec: NetSpec) -> Sample:
        return judge(
            len(self.samples) + place,
            tokens,
            self.price(spec),
            self.known[spec],
            self.settings.reward,
        )

    def _resume(self, conditions: Mapping[str, Any]) -> None:
        if not self.folder.claim({**self._identity(), **conditions}):
            return
        if (state := self.folder.read_tensors(STATE)) is not None:
            try:
                self.strategy.load_state_dict(state['strategy'])
                self.generator.set_state(state['generator'])
                self.samples = _samples(state['samples'], self.space)
            except Exception as error:  # PyTorch raises anything for strange tensors.
                raise self.folder.damaged(STATE, error) from None
        history = read_samples(self.folder, HISTORY, self.space)
        # Of a killed batch, failures are tried again: a machine may have been at fault.
        finite = [sample for sample in history if sample.accuracy is not None]
        for sample in [*finite, *self.samples]:
            self.known[self.space.decode(sample.tokens)] = Outcome(
                sample.accuracy, sample.problem
            )

    def _identity(self) -> dict[str, Any]:
        """What must be the same for a search to go on; more samples may be asked."""
        settings = self.settings
        learns = settings.strategy == CONTROLLER
        return dict(
            search='nas',
            space=self.space.name,
            reward=asdict(settings.reward),
            batch_size=settings.batch_size,
            seed=settings.seed,
            strategy=settings.strategy,
            ppo=asdict(settings.ppo) if learns else None,
        )

    def _save(self) -> None:
        state = dict(
            strategy=self.strategy.state_dict(),
            generator=self.generator.get_state(),
            # Tensors' files have no tuples of ours, but lists.
            samples=[
                {**asdict(sample), 'tokens': list(sample.tokens)}
                for sample in self.samples
            ],
        )
        self.folder.write_tensors(STATE, state)


def read_samples(folder: Folder, name: str, space: Space) -> list[Sample]:
    """Samples of a file that has one in a line; none where there is no file.

    Args:
        folder: Where it is.
        name: Of the file.
        space: That they are of.

    Raises:
        UserError: When the file is damaged.
    """
    rows = folder.read_rows(name)
    try:
        return _samples(rows, space)
    except (ValueError, IndexError) as error:
        raise folder.damaged(name, error) from None


def _samples(rows: Iterable[Mapping[str, Any]], space: Space) -> list[Sample]:
    samples = list(map(Sample.of_row, rows))
    for sample in samples:
        space.decode(sample.tokens)
    return samples


def judge(
    index: int, tokens: Tokens, latency_us: float, outcome: Outcome, reward: Reward
) -> Sample:
    """A sample of what evaluating a network came to.

    Args:
        index: Its place in the search, from 0.
        tokens: Its choices.
        latency_us: Its price.
        outcome: What it came to.
        reward: What it is worth.
    """
    outcome = _finite(outcome)
    accuracy = outcome.accuracy
    worth = None if accuracy is None else reward(accuracy, latency_us)
    return Sample(index, tokens, latency_us, accuracy, worth, outcome.problem)


def _finite(outcome: Outcome) -> Outcome:
    """An outcome whose accuracy is no number, as a failure."""
    if outcome.accuracy is None or math.isfinite(outcome.accuracy):
        return outcome
    return Outcome(None, outcome.problem or f'its accuracy is {outcome.accuracy}')
