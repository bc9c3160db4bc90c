"""The loop of NetAdapt: propose, train a little, keep the best, and again.

A search leaves, and continues from::

    settings.json            what it was started with
    seed/                    score.json
    step_01/                 proposals.json, specs/; proposal_03.json and .pth as they
                             come; in the end spec.json, weights.pth, winner.json
    frontier.json            the way so far
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from mmnv3.arch import Network
from mmnv3.errors import UserError
from mmnv3.json_files import is_number
from mmnv3.search.configs import Budget
from mmnv3.search.folder import Folder
from mmnv3.search.netadapt.proposals import Proposal, narrowest, proposals
from mmnv3.search.pool import Failure
from mmnv3.search.target import Price, ms
from mmnv3.search.trial import State, Trial, digest, only_finite, run_trials

# The smallest cut that is tried, as a part of what is asked for.
_LEAST_CUT = 1 / 16


@dataclass(frozen=True)
class Point:
    """A network on the way, or beside it.

    Args:
        name: What was done to get it.
        latency_us: Its price.
        accuracy: Its figure on the held-out data; None where it was not trained or
            its training failed.
        problem: Why it failed.
    """

    name: str
    latency_us: float
    accuracy: float | None = None
    problem: str | None = None

    def __str__(self) -> str:
        """As ``block4 expand 96 → 72: 1.71 ms, 0.58``."""
        accuracy = self.problem if self.accuracy is None else f'{self.accuracy:.4g}'
        return f'{self.name}: {ms(self.latency_us)}, {accuracy}'


@dataclass(frozen=True)
class FinishedStep:
    """A finished step.

    Args:
        number: From 1; 0 is the seed.
        winner: What was chosen.
        others: What else was tried.
    """

    number: int
    winner: Point
    others: tuple[Point, ...] = field(default=(), repr=False)

    def __str__(self) -> str:
        return f'step {self.number}: {self.winner}'


CRITERIA: dict[str, Callable[[Point, Point], float]] = {
    # MobileNetV3: the accuracy that a microsecond costs, or brings.
    'ratio': lambda before, after: (
        (_accuracy(after) - _accuracy(before))
        / abs(before.latency_us - after.latency_us)
    ),
    # NetAdapt's own.
    'accuracy': lambda before, after: _accuracy(after),
}


def _accuracy(point: Point) -> float:
    assert point.accuracy is not None  # Others are not compared.
    return point.accuracy


@dataclass(frozen=True)
class Cut:
    """A network to try.

    Args:
        old: The network that it is cut from.
        new: The network.
        state: The weights of the old one.
        budget: Of the training.
        work_dir: For the log.
    """

    old: Network
    new: Network
    state: State
    budget: Budget
    work_dir: Path


@dataclass(frozen=True)
class NetAdaptTask:
    """What a search is asked for.

    Args:
        seed: The network to start from.
        state: Its weights.
        price: Microseconds of a network.
        attempt: Trains what a proposal is, from the weights of what it was cut from.
        target_us: Latency to reach.
        budget: Of every proposal.
        work_dir: Where everything goes, and where an interrupted search is found.
        delta: What a step cuts at least, as a fraction of the seed's latency; the
            paper's 0.01.
        criterion: One of :data:`CRITERIA`.
        numbered: Blocks that are not left out; see
            :func:`mmnv3.search.netadapt.proposals.removable`.
        conditions: What else the outcome depends on, as data and table.
        ray: See :func:`mmnv3.search.pool.run_jobs`.
        report: Gets a line whenever something is done.
        advance: Gets what part of the latency is cut, 0 to 1, whenever a proposal was
            trained, as if every step cut what it has to at least.
        begun: Called when a search begins, and not when it goes on.
    """

    seed: Network
    state: State
    price: Price
    attempt: Callable[[Cut], Trial]
    target_us: float
    budget: Budget
    work_dir: Path
    delta: float = 0.01
    criterion: str = 'ratio'
    numbered: int = 0
    conditions: Mapping[str, Any] = field(default_factory=dict)
    ray: str | None = None
    report: Callable[[str], Any] = print
    advance: Callable[[float], Any] = field(default=lambda part: None)
    begun: Callable[[], Any] = field(default=lambda: None)

    @property
    def folder(self) -> Folder:
        """The files of the search."""
        return Folder(self.work_dir)

    def settings(self) -> dict[str, Any]:
        """Whatever the outcome depends on, to tell one search from another."""
        # Two prices tell one table, and one size of picture, from another.
        ends = dict(seed=self.seed, narrowest=narrowest(self.seed, self.numbered))
        return dict(
            search='netadapt',
            target_us=round(self.target_us, 3),
            delta=self.delta,
            criterion=self.criterion,
            budget=asdict(self.budget),
            seed=asdict(self.seed),
            weights=digest(self.state),
            latency_us={
                name: round(self.price(network.spec), 3)
                for name, network in ends.items()
            },
            **self.conditions,
        )


def check(task: NetAdaptTask) -> None:
    """Looks at whether a search can come to anything.

    Raises:
        UserError: When the target is met already or cannot be reached, or for a
            setting that is impossible.
    """
    if task.criterion not in CRITERIA:
        raise UserError(
            f'criterion={task.criterion!r} is unknown; possible: {", ".join(CRITERIA)}'
        )
    if not 0 < task.delta < 1:
        raise UserError(f'delta={task.delta} is impossible; possible: 0 to 1')
    name, latency_us = task.seed.spec.name, task.price(task.seed.spec)
    if task.target_us >= latency_us:
        raise UserError(
            f'the target of {ms(task.target_us)} is already met: {name} takes '
            f'{ms(latency_us)}; choose a lower one'
        )
    least_us = task.price(narrowest(task.seed, task.numbered).spec)
    if task.target_us < least_us:
        raise UserError(
            f'the target of {ms(task.target_us)} cannot be reached: with all widths at '
            f'their least {name} takes {ms(least_us)}; choose a higher one'
        )


def adapt(task: NetAdaptTask) -> list[FinishedStep]:
    """Searches, or continues a search that was interrupted.

    Args:
        task: What is asked for.

    Returns:
        The steps; step 0 is the seed. The last one's folder holds what was found.

    Raises:
        UserError: When the target cannot be reached, when the folder is another
            search's, when no proposal of a step could be trained, or when the disk is
            full. What was done stays, and the same search continues from there.
    """
    check(task)
    folder, network, state = task.folder, task.seed, task.state
    if folder.claim(task.settings()):
        task.report(f'continuing the search in {task.work_dir}')
    steps = [FinishedStep(0, _score_seed(task))]
    task.report(str(steps[0]))
    seed_us = task.price(task.seed.spec)
    while (latency_us := task.price(network.spec)) > task.target_us:
        step = step_name(len(steps))
        if folder.read_json(f'{step}/winner.json') is None:
            cut_us = min(task.delta * seed_us, latency_us - task.target_us)
            found = _propose(task, step, network, cut_us)
            whole_us = seed_us - task.target_us
            begin, end = (
                (seed_us - us) / whole_us for us in (latency_us, latency_us - cut_us)
            )
            task.advance(begin)
            for part in _try(task, step, network, state, found):
                task.advance(begin + part * (end - begin))
            _choose(task, step, steps[-1].winner, found)
        spec = folder.read_spec(f'{step}/spec.json')
        if task.price(spec) >= latency_us:
            raise folder.damaged(f'{step}/spec.json', 'it is no faster than before')
        network = replace(network, spec=spec)
        state = folder.read_weights(f'{step}/weights.pth')
        steps.append(_read_step(folder, len(steps)))
        task.report(str(steps[-1]))
        rows = [dict(step=each.number, **asdict(each.winner)) for each in steps]
        folder.write_json('frontier.json', rows)
    return steps


def step_name(number: int) -> str:
    """The folder of a step, inside that of its search."""
    return f'step_{number:02}'


def run_alone(task: NetAdaptTask, cut: Cut) -> Trial:
    """Trains a network that is no proposal.

    Raises:
        Exception: What went wrong, other than a training whose loss is no number.
    """
    ((_, trial),) = run_trials(task.attempt, [cut], task.ray)
    if isinstance(trial, Failure):
        raise trial.error
    return only_finite(trial)


def run_seed(task: NetAdaptTask, budget: Budget) -> Trial:
    """Trains the seed as if it were a proposal, or only scores it.

    Raises:
        Exception: As of :func:`run_alone`.
    """
    log = task.work_dir / 'seed' / 'log'
    return run_alone(task, Cut(task.seed, task.seed, task.state, budget, log))


def write_point(folder: Folder, name: str, point: Point, trial: Trial) -> None:
    """Writes what became of a network; its weights, beside it, come first."""
    if trial.state is not None:
        folder.write_weights(f'{name}.pth', trial.state)
    metrics, seconds = trial.metrics, round(trial.seconds, 2)
    folder.write_json(
        f'{name}.json', dict(asdict(point), metrics=metrics, seconds=seconds)
    )


def read_point(folder: Folder, name: str) -> Point | None:
    """Reads it; None where it was not tried yet."""
    data = folder.read_json(f'{name}.json')
    return None if data is None else _point(folder, f'{name}.json', data)


def _point(folder: Folder, name: str, data: Any) -> Point:
    """A network of a record, which somebody may have edited."""
    row = data if isinstance(data, dict) else {}
    label, latency_us = row.get('name'), row.get('latency_us')
    accuracy, problem = row.get('accuracy'), row.get('problem')
    if not (
        isinstance(label, str)
        and is_number(latency_us)
        and latency_us > 0
        and (accuracy is None or is_number(accuracy))
        and isinstance(problem, str | None)
    ):
        raise folder.damaged(name, 'it does not hold a name, a latency and an accuracy')
    return Point(label, latency_us, accuracy, problem)


def read_steps(folder: Folder) -> Iterator[FinishedStep]:
    """The finished steps of a search, the seed first."""
    seed = read_point(folder, 'seed/score')
    if seed is not None:
        yield FinishedStep(0, seed)
    number = 1
    while folder.read_json(f'{step_name(number)}/winner.json') is not None:
        yield _read_step(folder, number)
        number += 1


def _score_seed(task: NetAdaptTask) -> Point:
    if (point := read_point(task.folder, 'seed/score')) is None:
        trial = run_seed(task, replace(task.budget, iterations=0, rate=1.0))
        if trial.value is None:
            raise UserError(
                f'the checkpoint cannot be scored: {trial.problem}; give one that was '
                'trained with the config'
            )
        point = Point('seed', task.price(task.seed.spec), trial.value)
        # Its weights are known.
        write_point(task.folder, 'seed/score', point, replace(trial, state=None))
        task.begun()
    if point.accuracy is None:
        raise task.folder.damaged('seed/score.json', 'it holds no accuracy')
    return point


def _propose(
    task: NetAdaptTask, step: str, network: Network, cut_us: float
) -> list[Proposal]:
    """The proposals of a step, those of an interrupted one as they were."""
    folder = task.folder

    def spec_name(number: int) -> str:
        return f'{step}/specs/{number:02}.json'

    list_name = f'{step}/proposals.json'
    if (known := folder.read_json(list_name)) is not None:
        if not isinstance(known, list) or not known:
            raise folder.damaged(list_name, 'it is no list of proposals')
        points = [_point(folder, list_name, row) for row in known]
        if max(point.latency_us for point in points) >= task.price(network.spec):
            raise folder.damaged(list_name, 'a proposal is no faster')
        return [
            Proposal(
                point.name,
                replace(network, spec=folder.read_spec(spec_name(number))),
                point.latency_us,
            )
            for number, point in enumerate(points, 1)
        ]
    asked_us, least_us = cut_us, cut_us * _LEAST_CUT
    # Near the end no single width may hold so much any more.
    while not (found := list(proposals(network, task.price, cut_us, task.numbered))):
        cut_us /= 2
        if cut_us < least_us:
            raise UserError(
                f'no width of {network.spec.name} can be cut so that it gets faster '
                f'than {ms(task.price(network.spec))}, and the target is '
                f'{ms(task.target_us)}; choose a slower one'
            )
    if cut_us < asked_us:
        task.report(f'{step}: only {ms(cut_us)} can still be cut at once')
    for number, proposal in enumerate(found, 1):
        folder.write_spec(spec_name(number), proposal.network.spec)
    rows = [dict(name=p.name, latency_us=p.latency_us) for p in found]
    folder.write_json(list_name, rows)
    return found


def _proposal_name(step: str, index: int) -> str:
    return f'{step}/proposal_{index + 1:02}'


def _try(
    task: NetAdaptTask,
    step: str,
    network: Network,
    state: State,
    found: Sequence[Proposal],
) -> Iterator[float]:
    """Trains the proposals that were not trained yet, and writes what they came to.

    Yields:
        What part of them is done.
    """
    names = [_proposal_name(step, index) for index in range(len(found))]
    open_ones = [
        index
        for index, name in enumerate(names)
        if read_point(task.folder, name) is None
    ]
    cuts = [
        Cut(
            network,
            found[index].network,
            state,
            task.budget,
            task.work_dir / step / 'logs' / Path(names[index]).name,
        )
        for index in open_ones
    ]
    for place, trial in run_trials(task.attempt, cuts, task.ray):
        index = open_ones[place]
        proposal = found[index]
        if isinstance(trial, Failure):
            # It may be well another time, so it is not noted as tried.
            task.report(f'{step}: {proposal.name} is dropped: {trial}')
            continue
        trial = only_finite(trial)
        point = Point(proposal.name, proposal.latency_us, trial.value, trial.problem)
        write_point(task.folder, names[index], point, trial)
        task.report(
            f'{step}: {proposal.name} is dropped: {trial.problem}'
            if trial.value is None
            else f'{step}: {point}'
        )
        yield 1 - (len(open_ones) - place - 1) / len(found)


def _choose(
    task: NetAdaptTask, step: str, before: Point, found: Sequence[Proposal]
) -> None:
    folder = task.folder
    points = [
        read_point(folder, _proposal_name(step, index)) for index in range(len(found))
    ]
    trained = {i: p for i, p in enumerate(points) if p and p.accuracy is not None}
    for index, point in trained.items():
        if point.latency_us != found[index].latency_us:
            name = f'{_proposal_name(step, index)}.json'
            raise folder.damaged(name, "its latency is not the proposal's")
    if not trained:
        problems = [point.problem for point in points if point]
        raise UserError(
            f'none of the {len(found)} proposals of {task.work_dir / step} could be '
            f'trained ({problems[0] if problems else "see above"}); lower --rate or '
            'raise --iters, in another --work-dir'
        )
    criterion = CRITERIA[task.criterion]
    best = max(trained, key=lambda index: criterion(before, trained[index]))
    folder.write_spec(f'{step}/spec.json', found[best].network.spec)
    weights = folder.read_weights(f'{_proposal_name(step, best)}.pth')
    folder.write_weights(f'{step}/weights.pth', weights)
    # The last file: with it the step is done.
    winner = dict(proposal=best, **asdict(trained[best]))
    folder.write_json(f'{step}/winner.json', winner)
    for path in (task.work_dir / step).glob('proposal_*.pth'):
        path.unlink(missing_ok=True)


def _read_step(folder: Folder, number: int) -> FinishedStep:
    step = step_name(number)
    record = folder.read_json(f'{step}/winner.json')
    chosen = record.get('proposal') if isinstance(record, dict) else None
    if type(chosen) is not int or chosen < 0:
        raise folder.damaged(f'{step}/winner.json', 'it names no proposal')
    paths = sorted((folder.path / step).glob('proposal_*.json'))
    points = [read_point(folder, f'{step}/{path.stem}') for path in paths]
    winner = read_point(folder, _proposal_name(step, chosen))
    if winner is None or winner.accuracy is None:
        name = f'{_proposal_name(step, chosen)}.json'
        raise folder.damaged(name, 'the winner of the step has no accuracy')
    return FinishedStep(number, winner, tuple(p for p in points if p and p != winner))
