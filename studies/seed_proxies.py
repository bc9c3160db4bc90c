"""Proxies that take from a trained seed: its weights, or what it teaches."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
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
from mmnv3.search.nas.search import Evaluate
from mmnv3.search.nas.space import Space, Tokens
from mmnv3.search.netadapt.outputs import write_teacher
from mmnv3.search.trial import State

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
        f"{INHERITING} iterations from the seed's weights": ScratchProxy(
            config,
            space,
            Budget(INHERITING),
            logs,
            ray,
            partial(inherited, config, space, seed),
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
    own_places = space.places(tokens)
    seed_places = [
        (number, index)
        for number, stage in enumerate(space.stages)
        for index in range(stage.layers)
    ]
    known = {_at(name, seed_places): tensor for name, tensor in seed.items()}
    for name, tensor in state.items():
        place, layer = _at(name, own_places)
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
