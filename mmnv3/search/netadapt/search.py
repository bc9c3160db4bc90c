"""The loop of NetAdapt: propose, train a little, keep the best, and again."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path

from mmnv3.arch import NetSpec, load_spec, save_spec
from mmnv3.errors import UserError
from mmnv3.search.netadapt import store
from mmnv3.search.netadapt.proposals import Proposal, proposals
from mmnv3.search.netadapt.store import Point, Step
from mmnv3.search.netadapt.task import CRITERIA, Job, Search, State, check, ms
from mmnv3.search.pool import Failure, run_jobs
from mmnv3.search.runs import Budget, Trial


def run(search: Search) -> list[Step]:
    """Searches, or continues a search that was interrupted.

    Args:
        search: What is asked for.

    Returns:
        The steps; step 0 is the seed. The last one's folder holds what was found.

    Raises:
        UserError: When the target cannot be reached, when the folder is another
            search's, when no proposal of a step could be trained, or when the disk is
            full. What was done stays, and the same search continues from there.
    """
    check(search)
    with store.clear_disk_errors(search.work_dir):
        if store.claim(search.work_dir, search.settings()):
            search.report(f'continuing the search in {search.work_dir}')
        spec, state = search.seed, search.state
        steps = [Step(0, _score_seed(search))]
        while (latency := search.price(spec)) > search.target:
            number, before = len(steps), steps[-1].winner
            folder = store.step_dir(search.work_dir, number)
            if store.read_json(folder / store.WINNER) is None:
                cut = min(
                    search.delta * search.price(search.seed), latency - search.target
                )
                found = _propose(search, folder, spec, cut)
                _try(search, folder, spec, state, found)
                _choose(search, folder, before, found)
            spec = load_spec(folder / 'spec.json')
            state = store.read_weights(folder / 'weights.pth')
            steps.append(_read_step(folder, number))
            search.report(_line(steps[-1]))
            _write_frontier(search, steps)
        return steps


def _score_seed(search: Search) -> Point:
    path = search.work_dir / 'seed' / 'score.json'
    if (point := store.read_point(path)) is None:
        budget = Budget(0, held_out=search.budget.held_out, seed=search.budget.seed)
        job = Job(search.seed, search.seed, search.state, budget, path.parent / 'log')
        ((_, trial),) = run_jobs(search.attempt, [job], search.ray)
        if isinstance(trial, Failure):
            raise trial.error
        if trial.value is None:
            raise UserError(f'the checkpoint cannot be scored: {trial.problem}')
        point = Point('seed', search.price(search.seed), trial.value)
        # Its weights are known.
        store.write_json(path, dict(asdict(point), metrics=trial.metrics))
    search.report(_line(Step(0, point)))
    return point


# The smallest cut that is tried, as a part of what is asked for.
_LEAST_CUT = 1 / 16


def _propose(search: Search, folder: Path, spec: NetSpec, cut: float) -> list[Proposal]:
    """The proposals of a step, those of an interrupted one as they were."""
    path, specs = folder / 'proposals.json', folder / 'specs'
    if (known := store.read_json(path)) is not None:
        return [
            Proposal(
                row['name'], load_spec(specs / f'{number:02}.json'), row['latency']
            )
            for number, row in enumerate(known, 1)
        ]
    asked, least = cut, cut * _LEAST_CUT
    # Near the end no single width may hold so much any more.
    while not (found := list(proposals(spec, search.price, cut, search.rules))):
        cut /= 2
        if cut < least:
            raise UserError(
                f'no width of {spec.name} can be cut so that it gets faster than '
                f'{ms(search.price(spec))}, and the target is {ms(search.target)}; '
                'choose a slower one'
            )
    if cut < asked:
        search.report(f'{folder.name}: only {ms(cut)} can still be cut at once')
    specs.mkdir(parents=True, exist_ok=True)
    for number, proposal in enumerate(found, 1):
        save_spec(proposal.spec, specs / f'{number:02}.json')
    rows = [dict(name=p.name, latency=p.latency) for p in found]
    store.write_json(path, rows)
    return found


def _path(folder: Path, index: int) -> Path:
    return folder / f'proposal_{index + 1:02}.json'


def _try(
    search: Search, folder: Path, spec: NetSpec, state: State, found: list[Proposal]
) -> None:
    """Trains the proposals that were not trained yet, and writes what they came to."""
    open_ones = [i for i in range(len(found)) if not _path(folder, i).exists()]
    jobs = [
        Job(
            spec,
            found[index].spec,
            state,
            search.budget,
            folder / 'logs' / _path(folder, index).stem,
        )
        for index in open_ones
    ]
    for place, trial in run_jobs(search.attempt, jobs, search.ray):
        index = open_ones[place]
        proposal = found[index]
        _raise_what_concerns_all(trial)
        if isinstance(trial, Failure):
            # It may be well another time, so it is not noted as tried.
            search.report(f'{folder.name}: {proposal.name} is dropped: {trial}')
            continue
        point = Point(proposal.name, proposal.latency, trial.value, trial.problem)
        store.write_point(_path(folder, index), point, trial)
        search.report(
            f'{folder.name}: {proposal.name} is dropped: {trial.problem}'
            if trial.value is None
            else f'{folder.name}: {point}'
        )


def _raise_what_concerns_all(trial: Trial | Failure) -> None:
    """A mistake of the config or a full disk is no property of a proposal."""
    if isinstance(trial, Failure) and isinstance(trial.error, UserError | OSError):
        raise trial.error


def _choose(search: Search, folder: Path, before: Point, found: list[Proposal]) -> None:
    points = {i: store.read_point(_path(folder, i)) for i in range(len(found))}
    trained = {i: p for i, p in points.items() if p and p.accuracy is not None}
    if not trained:
        problems = [p.problem for p in points.values() if p]
        raise UserError(
            f'none of the {len(found)} proposals of {folder} could be trained '
            f'({problems[0] if problems else "see above"}); lower --rate in another '
            '--work-dir'
        )
    criterion = CRITERIA[search.criterion]
    best = max(trained, key=lambda index: criterion(before, trained[index]))
    save_spec(found[best].spec, folder / 'spec.json')
    weights = store.read_weights(_path(folder, best).with_suffix('.pth'))
    store.write_weights(folder / 'weights.pth', weights)
    # The last file: with it the step is done.
    store.write_json(
        folder / store.WINNER, dict(proposal=best, **asdict(trained[best]))
    )
    store.remove(folder.glob('proposal_*.pth'))


def _read_step(folder: Path, number: int) -> Step:
    data = store.read_json(folder / store.WINNER)
    chosen = _path(folder, data.pop('proposal'))
    others = (store.read_point(path) for path in sorted(folder.glob('proposal_*.json')))
    winner = store.read_point(chosen)
    return Step(number, winner, tuple(p for p in others if p and p != winner))


def _write_frontier(search: Search, steps: list[Step]) -> None:
    rows = [dict(step=step.number, **asdict(step.winner)) for step in steps]
    store.write_json(search.work_dir / 'frontier.json', rows)


def read_steps(work_dir: Path) -> Iterator[Step]:
    """The finished steps of a search, the seed first."""
    seed = store.read_point(work_dir / 'seed' / 'score.json')
    if seed is not None:
        yield Step(0, seed)
    number = 1
    while (folder := store.step_dir(work_dir, number)).joinpath(store.WINNER).exists():
        yield _read_step(folder, number)
        number += 1


def _line(step: Step) -> str:
    return f'step {step.number}: {step.winner}'
