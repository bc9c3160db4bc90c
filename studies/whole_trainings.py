"""What studies of the searches share: options, and whole trainings that are kept."""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from mmengine.config import Config

from mmnv3 import arguments
from mmnv3.engine.config import read_config
from mmnv3.errors import UserError
from mmnv3.files import check_output
from mmnv3.search.configs import Budget, schedule_length
from mmnv3.search.folder import Folder
from mmnv3.search.nas.space import SPACES
from mmnv3.search.pool import Failure
from mmnv3.search.target import add_ray_option
from mmnv3.search.trial import Trial, run_trials, train_and_score


def study_parser(description: str) -> argparse.ArgumentParser:
    """The options that every study of the searches has."""
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument('config', type=arguments.config)
    parser.add_argument('--out', type=arguments.path, required=True, metavar='FOLDER')
    parser.add_argument(
        '--seeds',
        type=arguments.count,
        default=2,
        help='of every whole training; %(default)s',
    )
    parser.add_argument(
        '--space', choices=SPACES, default='v3_small', help='of NAS; %(default)s'
    )
    add_ray_option(parser, 'networks')
    parser.add_argument(
        '--cfg-options', nargs='+', action=arguments.Settings, metavar='KEY=VALUE'
    )
    return parser


def open_study(args: argparse.Namespace) -> tuple[Config, Folder]:
    """The config and the folder that parsed arguments name.

    Raises:
        UserError: When one of them cannot be what it should.
    """
    check_output('--out', args.out, folder=True)
    return read_config(args.config, args.cfg_options), Folder(args.out)


@dataclass(frozen=True)
class _Training:
    """A training by a config's whole schedule.

    Args:
        config: The config.
        place: Of its files in the folder, without their endings.
        seed: Of the training.
        logs: Where its log goes.
    """

    config: Config
    place: str
    seed: int
    logs: Path


def _train(job: _Training) -> Trial:
    budget = Budget(schedule_length(job.config), held_out=0.0, seed=job.seed)
    return train_and_score(job.config, budget, job.logs)


def train_whole(
    configs: Mapping[str, Config],
    seeds: int,
    folder: Folder,
    ray: str | None = None,
) -> dict[str, list[float]]:
    """Trains configs by their whole schedules and scores them on the validation set.

    Args:
        configs: By what they are called in the folder.
        seeds: How many trainings each gets.
        folder: Keeps the figure of each, and the weights.
        ray: None, or what :func:`mmnv3.search.pool.run_jobs` takes.

    Returns:
        By name the accuracies, 0 to 1, a seed after the other.

    Raises:
        UserError: When one cannot be trained; the others are trained all the same.
    """
    logs = folder.path / 'whole' / 'logs'
    jobs = [
        _Training(config, f'whole/{name}_{seed}', seed, logs)
        for name, config in configs.items()
        for seed in range(seeds)
    ]
    missing = [job for job in jobs if folder.read_json(f'{job.place}.json') is None]
    problems = []
    for index, trial in run_trials(_train, missing, ray):
        place = missing[index].place
        if isinstance(trial, Failure) or trial.accuracy is None or trial.state is None:
            problem = trial if isinstance(trial, Failure) else trial.problem
            problems.append(f'{place}: {problem}')
            continue
        folder.write_weights(f'{place}.pth', trial.state)
        record = dict(accuracy=trial.accuracy, seconds=round(trial.seconds, 1))
        folder.write_json(f'{place}.json', record)
        print(f'{place}: {trial.accuracy:.4f}', flush=True)
    if problems:
        raise UserError('; '.join(problems))
    found = [folder.read_json(f'{job.place}.json')['accuracy'] for job in jobs]
    return {
        name: found[number * seeds : (number + 1) * seeds]
        for number, name in enumerate(configs)
    }
