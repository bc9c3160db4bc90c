"""The best networks of a search, trained to the end: no proxy tells those apart."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict

from mmnv3.errors import UserError
from mmnv3.search.folder import Folder
from mmnv3.search.nas.evolution import MUTATIONS
from mmnv3.search.nas.reward import Reward
from mmnv3.search.nas.search import Evaluate, Sample, judge, ranked, read_samples
from mmnv3.search.nas.space import Space

ROWS = 'finalists.jsonl'


def choose_finalists(samples: Iterable[Sample], count: int) -> list[Sample]:
    """The samples of the highest rewards, none of them much like another.

    Two differ in more choices than a child and its parent: what a search ends with are
    variations of a few networks, which would come to the same.

    Args:
        samples: Of the search; those without a reward are left out.
        count: How many at most.

    Returns:
        The best first.
    """
    found: list[Sample] = []
    for sample in ranked(samples):
        if len(found) < count and all(
            _differing(sample, other) > MUTATIONS for other in found
        ):
            found.append(sample)
    return found


def _differing(sample: Sample, other: Sample) -> int:
    return sum(a != b for a, b in zip(sample.tokens, other.tokens, strict=True))


def train_finalists(
    space: Space,
    finalists: Sequence[Sample],
    reward: Reward,
    train: Evaluate,
    folder: Folder,
    report: Callable[[Sample], None] = lambda sample: None,
) -> list[Sample]:
    """Gives finalists the accuracy that a whole training brings.

    Args:
        space: The space.
        finalists: Of a search there.
        reward: What a network is worth.
        train: The whole training.
        folder: Keeps what it came to; what is there is not trained again, unless it
            failed.
        report: Is told of every finalist as it comes, those that are there first.

    Returns:
        The finalists in the same order, with the new accuracies and rewards.

    Raises:
        UserError: When all fail, or the folder cannot be written.
    """
    known = {
        sample.tokens: sample
        for sample in read_samples(folder, ROWS, space)
        if sample.accuracy is not None
    }
    missing = []
    for sample in finalists:
        if sample.tokens in known:
            report(known[sample.tokens])
        else:
            missing.append(sample)
    for place, outcome in train([sample.tokens for sample in missing]):
        drawn = missing[place]
        sample = judge(drawn.index, drawn.tokens, drawn.latency_us, outcome, reward)
        folder.append_row(ROWS, asdict(sample))
        known[sample.tokens] = sample
        report(sample)
    found = [known[sample.tokens] for sample in finalists]
    if all(sample.reward is None for sample in found):
        raise UserError(
            f'none of {len(found)} finalists got an accuracy, the last because: '
            f'{found[-1].problem}; lower the learning rate, in another --work-dir'
        )
    return found
