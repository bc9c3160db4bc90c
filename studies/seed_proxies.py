"""Proxies that take from a trained seed: its weights, or what it teaches."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from mmengine.config import Config
from torch import Tensor

from mmnv3.engine.build import quiet_logger
from mmnv3.search.configs import MODEL_BLOCK, Budget, build, with_sampled_spec
from mmnv3.search.folder import Folder
from mmnv3.search.nas.elastic import take
from mmnv3.search.nas.proxies import ScratchProxy
from mmnv3.search.nas.search import Evaluate, Outcome
from mmnv3.search.nas.space import Space, Tokens
from mmnv3.search.netadapt.outputs import write_teacher
from mmnv3.search.pool import Failure
from mmnv3.search.trial import State, run_trials, train_and_score

# Iterations of each.
INHERITING, TAUGHT = 84, 100
# A gate opens by (x + 3) / 6, up to 3, where its gradient would end.
_OPEN = 2.9


def seed_proxies(
    config: Config, space: Space, seed: State, folder: Path, ray: str | None = None
) -> dict[str, Evaluate]:
    """Both of them, by name.

    Args:
        config: The config, with the network that the seed's weights are of. It has the
            stages and layers of the space.
        space: The space.
        seed: All weights of the config's trained model.
        folder: Of the trainings.
        ray: None, or what :func:`mmnv3.search.pool.run_jobs` takes.
    """
    taught = write_teacher(config, seed, Folder(folder / 'teacher'))
    logs = folder / 'from_seed'
    return {
        f"{INHERITING} iterations from the seed's weights": _InheritingProxy(
            config, space, seed, Budget(INHERITING), logs, ray
        ),
        f'{TAUGHT} iterations from scratch, taught by the seed': ScratchProxy(
            taught, space, Budget(TAUGHT), logs, ray
        ),
    }


@torch.no_grad()
def inherited(config: Config, space: Space, seed: State, tokens: Tokens) -> State:
    """Weights of a network of a space, as many as it can have of the seed's.

    A block is told by its stage and its place there. The first channels are in common,
    and the middle of kernels, around which a larger one has zeros. A block that the
    seed lacks adds nothing to what comes in, and a gate that it lacks is open.

    Args:
        config: See :func:`seed_proxies`.
        space: The space.
        seed: All weights of the config's model.
        tokens: The network.
    """
    model: Any = build(with_sampled_spec(config, space.decode(tokens)))
    with torch.random.fork_rng(devices=[]), quiet_logger():
        torch.manual_seed(0)
        model.init_weights()
    state = model.state_dict()
    places = [
        (number, index)
        for number, stage in enumerate(space.stages)
        for index in range(stage.layers)
    ]
    known = {_at(name, places): tensor for name, tensor in seed.items()}
    for name, tensor in state.items():
        place, layer = _at(name, space.places(tokens))
        if (place, layer) in known:
            _take_over(tensor, known[place, layer])
        elif (place, '.project.conv.weight') not in known:
            if layer == '.project.bn.weight':
                tensor.zero_()
        elif layer == '.se.expand.weight':
            tensor.zero_()
        elif layer == '.se.expand.bias':
            tensor.fill_(_OPEN)
    return state


# The stage of a block and its place there; None for what is in no block.
_Place = tuple[int, int] | None


def _at(name: str, places: Sequence[tuple[int, int]]) -> tuple[_Place, str]:
    """The place of a tensor's block, and the rest of its name."""
    found = MODEL_BLOCK.match(name)
    if not found:
        return None, name
    return places[int(found[1]) - 1], name[found.end() :]


def _take_over(mine: Tensor, other: Tensor) -> None:
    """Writes into a tensor what another has of it."""
    shape = [min(pair) for pair in zip(mine.shape, other.shape)]
    take(mine, [*shape[:2], *mine.shape[2:]]).zero_()
    take(mine, shape).copy_(take(other, shape))


@dataclass(frozen=True)
class _Job:
    config: Config
    state: State = field(repr=False)
    budget: Budget
    work_dir: Path


def _train(job: _Job) -> Outcome:
    trial = train_and_score(job.config, job.budget, job.work_dir, job.state)
    return Outcome(trial.accuracy, trial.problem)


@dataclass(frozen=True)
class _InheritingProxy:
    """Trains every network for a while from the seed's weights."""

    config: Config
    space: Space
    seed: State = field(repr=False)
    budget: Budget
    work_dir: Path
    ray: str | None = None

    def __call__(self, batch: Sequence[Tokens]) -> Iterator[tuple[int, Outcome]]:
        """Yields outcomes as they come; a training that breaks down is one too."""
        jobs = [
            _Job(
                with_sampled_spec(self.config, self.space.decode(tokens)),
                inherited(self.config, self.space, self.seed, tokens),
                self.budget,
                self.work_dir,
            )
            for tokens in batch
        ]
        for index, result in run_trials(_train, jobs, self.ray):
            if isinstance(result, Failure):
                result = Outcome(None, str(result))
            yield index, result
