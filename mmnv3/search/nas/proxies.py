"""What stands for the accuracy that a whole training would bring."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, field, replace
from functools import cached_property
from itertools import islice
from pathlib import Path
from typing import Any

from mmengine.config import Config
from torch import nn
from torch.utils.data import DataLoader

from mmnv3.engine.checkpoints import read_checkpoint
from mmnv3.search.configs import Budget, with_sampled_spec
from mmnv3.search.folder import Folder, identify
from mmnv3.search.nas.elastic import ElasticModel, recalibrate
from mmnv3.search.nas.search import Evaluate, Outcome
from mmnv3.search.nas.space import Space, Tokens
from mmnv3.search.pool import Failure
from mmnv3.search.trial import (
    State,
    only_finite,
    run_trials,
    score_models,
    train_and_score,
    train_model,
)

# Batches that new statistics of batch normalisation are of: by 8, networks that are
# nearly as good come in another order (docs/search.md).
_BATCHES = 30
# Networks of a job: what is built once for all of them takes as long as one.
_NETWORKS = 10
WEIGHTS = 'elastic.pth'


@dataclass(frozen=True)
class ScratchJob:
    """A network to train.

    Args:
        config: The config that it replaces the network of.
        space: The space.
        tokens: The network.
        budget: How long it trains.
        work_dir: Where its log goes.
        state: The weights that it starts from; None for a training from scratch.
    """

    config: Config
    space: Space
    tokens: Tokens
    budget: Budget
    work_dir: Path
    state: State | None = field(default=None, repr=False)


def train_scratch(job: ScratchJob) -> Outcome:
    """Trains a network and scores it, 0 to 1.

    Raises:
        UserError: For a config that cannot be trained.
    """
    config = with_sampled_spec(job.config, job.space.decode(job.tokens))
    trial = train_and_score(config, job.budget, job.work_dir, job.state)
    return Outcome(trial.accuracy, trial.problem)


@dataclass(frozen=True)
class ScratchProxy:
    """Trains every network for a while, here or by Ray: the paper's way.

    Args:
        config: The config that they replace the network of.
        space: The space.
        budget: How long each trains.
        work_dir: Where the logs go.
        ray: None for this process, or what :func:`mmnv3.search.pool.run_jobs` takes.
        start: Of a network the weights that it starts from; from scratch for None.
    """

    config: Config
    space: Space
    budget: Budget
    work_dir: Path
    ray: str | None = None
    start: Callable[[Tokens], State] | None = None

    def __call__(self, batch: Sequence[Tokens]) -> Iterator[tuple[int, Outcome]]:
        """Yields outcomes as they come; a training that breaks down is one too.

        Raises:
            UserError: For a config that cannot be trained, with any network.
        """
        jobs = [
            ScratchJob(
                self.config,
                self.space,
                tokens,
                self.budget,
                self.work_dir,
                self.start(tokens) if self.start else None,
            )
            for tokens in batch
        ]
        for index, result in run_trials(train_scratch, jobs, self.ray):
            if isinstance(result, Failure):
                result = Outcome(None, str(result))
            yield index, result


@dataclass(frozen=True)
class ElasticJob:
    """Networks to score.

    Args:
        elastic: The model that has their weights.
        networks: Their tokens.
        budget: What is scored on.
        work_dir: Where the log goes.
    """

    elastic: ElasticModel = field(repr=False)
    networks: tuple[Tokens, ...]
    budget: Budget
    work_dir: Path


def score_elastic(job: ElasticJob) -> list[Outcome]:
    """Scores networks by their shares of common weights, 0 to 1.

    Raises:
        UserError: For a config that cannot be trained.
    """

    def models(loader: DataLoader) -> Iterator[nn.Module]:
        batches = list(islice(loader, _BATCHES))
        for tokens in job.networks:
            model = job.elastic.network(tokens)
            recalibrate(model, batches)
            yield model

    trials = score_models(job.elastic.config, job.budget, job.work_dir, models)
    return [
        Outcome(trial.accuracy, trial.problem) for trial in map(only_finite, trials)
    ]


@dataclass(frozen=True)
class ElasticProxy:
    """Scores networks by the weights of one elastic model, here or by Ray.

    Args:
        config: The config that they replace the network of.
        space: The space.
        budget: How long the elastic model trains, and what is held out.
        work_dir: Of the model's training, which goes on where it was interrupted, and
            of the logs.
        ray: None for this process, or what :func:`mmnv3.search.pool.run_jobs` takes.
    """

    config: Config
    space: Space
    budget: Budget
    work_dir: Path
    ray: str | None = None

    def train(self, advance: Callable[[int], Any] = lambda done: None) -> None:
        """Trains the elastic model, unless that was done.

        Args:
            advance: Called with the iterations that are done.

        Raises:
            UserError: For a config that cannot be trained, when the loss is no
                number, and when another model was trained there.
        """
        folder = Folder(self.work_dir)
        folder.claim(
            dict(
                elastic=self.space.name,
                # Those of an earlier version shared with others too.
                shared_by='blocks of a kind',
                budget=asdict(self.budget),
                **identify(self.config),
            )
        )
        if not (folder.path / WEIGHTS).exists():
            model = ElasticModel(self.config, self.space, self.budget.seed)
            state = train_model(self.config, self.budget, self.work_dir, model, advance)
            folder.write_weights(WEIGHTS, state)

    @cached_property
    def _trained(self) -> ElasticModel:
        """The model, with the weights that :meth:`train` leaves."""
        self.train()
        model = ElasticModel(self.config, self.space)
        model.load_state_dict(read_checkpoint(self.work_dir / WEIGHTS).state)
        return model

    def __call__(self, batch: Sequence[Tokens]) -> Iterator[tuple[int, Outcome]]:
        """Yields outcomes as they come.

        Raises:
            UserError: For a config that cannot be trained, with any network.
        """
        parts = [
            tuple(batch[start : start + _NETWORKS])
            for start in range(0, len(batch), _NETWORKS)
        ]
        budget = replace(self.budget, iterations=0)
        jobs = [
            ElasticJob(self._trained, part, budget, self.work_dir / 'scores')
            for part in parts
        ]
        for number, result in run_trials(score_elastic, jobs, self.ray):
            if isinstance(result, Failure):
                result = [Outcome(None, str(result))] * len(parts[number])
            for place, outcome in enumerate(result):
                yield number * _NETWORKS + place, outcome


# By the name that a command line has for them.
ELASTIC, SCRATCH = 'elastic', 'scratch'
PROXIES: dict[str, Callable[..., Evaluate]] = {
    ELASTIC: ElasticProxy,
    SCRATCH: ScratchProxy,
}
