"""Accuracy and latency by formula, in place of training and measuring."""

import math

from mmnv3.arch import plan_blocks
from mmnv3.search.nas.search import Outcome


def oracle_latency(spec):
    """Microseconds in proportion to multiply-adds at 320 pixels, and some for SE."""
    channels, cost = spec.stem.out, 0.0
    for plan in plan_blocks(spec):
        block = plan.spec
        before, after = (
            (320 / r) ** 2 for r in (plan.expand_reduction, plan.reduction)
        )
        if block.fused:
            cost += block.kernel**2 * channels * block.expand * after
        else:
            cost += channels * block.expand * before * plan.has_expand
            # A depthwise product takes about twice the time of another.
            cost += 2 * block.kernel**2 * block.expand * after
        cost += block.expand * block.out * after + 4e4 * bool(block.se)
        channels = block.out
    return cost / 2e4


def oracle_accuracy(spec):
    """Rises with width, SE, residuals, and large kernels on small maps; saturates."""
    channels, good = spec.stem.out, 0.0
    for plan in plan_blocks(spec):
        block = plan.spec
        good += 0.02 * math.log(block.out * block.expand / channels)
        good += 0.03 * bool(block.se) + 0.02 * plan.residual
        good += 0.02 * (block.kernel == 5 and plan.reduction >= 16)
        channels = block.out
    return 1 - math.exp(-good)


def evaluator(space):
    """What a search of a space calls to train networks."""

    def evaluate(batch):
        for index, tokens in enumerate(batch):
            yield index, Outcome(oracle_accuracy(space.decode(tokens)))

    return evaluate
