"""Formulas in place of a machine and of training."""

import math
import os
import signal
from pathlib import Path

import torch

from mmnv3.arch import NetSpec, Network, get_spec, plan_blocks
from mmnv3.search.configs import Budget
from mmnv3.search.netadapt.search import Cut, NetAdaptTask, adapt
from mmnv3.search.trial import Trial


def block_madds(spec: NetSpec, size: int = 224) -> list[int]:
    """Multiply-adds of the stem, of every block, and of the last convolution."""
    found = [27 * spec.stem.out * (size // 2) ** 2]
    for plan in plan_blocks(spec):
        block = plan.spec
        inner = block.expand * (block.kernel**2 + block.out)
        first = plan.has_expand * plan.in_channels * block.expand
        found.append((first + inner) * (size // plan.reduction) ** 2)
    if spec.last:
        found.append(spec.blocks[-1].out * spec.last.out * (size // 32) ** 2)
    return found


def madds(spec: NetSpec) -> int:
    """The price: one multiply-add is a microsecond."""
    return sum(block_madds(spec))


def oracle(spec: NetSpec) -> float:
    """An accuracy: concave in every block, and some matter ten times as much."""
    return sum(
        (10 if index % 3 == 0 else 1) * math.log(cost)
        for index, cost in enumerate(block_madds(spec))
    )


def attempt(cut: Cut) -> Trial:
    """What training would come to."""
    state = dict(w=torch.full((3,), float(cut.new.spec.blocks[0].out)))
    return Trial('oracle', oracle(cut.new.spec), seconds=0.0, state=state)


SEED = Network(get_spec('small'))
LATENCY = madds(SEED.spec)


def search(work_dir: Path, **changes) -> NetAdaptTask:
    """A task whose latencies and trainings are formulas."""
    settings = dict(
        seed=SEED,
        state=dict(w=torch.ones(3)),
        price=madds,
        attempt=attempt,
        target_us=0.8 * LATENCY,
        budget=Budget(5),
        work_dir=work_dir,
        delta=0.04,
        report=lambda line: None,
    )
    return NetAdaptTask(**{**settings, **changes})


def search_until_killed(work_dir: Path, trainings: int) -> None:
    """Kills this process in the training after so many, of which the seed's is one."""
    tried = []

    def killed_attempt(cut: Cut) -> Trial:
        if len(tried) == trainings:
            os.kill(os.getpid(), signal.SIGKILL)
        tried.append(cut)
        return attempt(cut)

    adapt(search(work_dir, attempt=killed_attempt))
