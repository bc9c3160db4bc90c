"""What studies of the searches share: options, and whole trainings that are kept."""

from __future__ import annotations

import argparse
import json
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from datetime import date
from pathlib import Path
from typing import Any

import torch
from mmengine.config import Config

from mmnv3 import arguments
from mmnv3.benchmark.machine import describe_machine, machine_line
from mmnv3.deploy.cache import hash_of
from mmnv3.engine.config import read_config
from mmnv3.errors import UserError
from mmnv3.files import check_output, only_process
from mmnv3.json_files import read_json
from mmnv3.search.configs import Budget, schedule_length
from mmnv3.search.folder import Folder, to_json
from mmnv3.search.nas.space import SPACES
from mmnv3.search.pool import Failure
from mmnv3.search.target import add_ray_option
from mmnv3.search.trial import (
    State,
    Trial,
    digest,
    run_trials,
    train_and_score,
)
from studies.page import writing

# What whole trainings came to, on whatever machine; a study takes its figures from it.
RECORD = Path(__file__).parents[1] / 'docs' / 'whole_trainings.json'


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
        name: What the network is called.
        seed: Of the training.
        logs: Where its log goes.
        state: The weights that it starts from; None for a training from scratch.
    """

    config: Config
    name: str
    seed: int
    logs: Path
    state: State | None = field(default=None, repr=False)

    @property
    def key(self) -> str:
        """By which :data:`RECORD` knows it: all that decides the figure."""
        inherited = [digest(self.state)] if self.state else []
        return hash_of([to_json(self.config.to_dict()), self.seed, *inherited])

    @property
    def weights(self) -> str:
        """The file of its weights, in the study's folder."""
        return weights_file(self.name, self.seed)


def weights_file(name: str, seed: int = 0) -> str:
    """Where a study's folder has the weights of a network.

    Args:
        name: What the network is called.
        seed: Of the training.
    """
    return f'whole/{name}_{seed}.pth'


def _train(job: _Training) -> Trial:
    budget = Budget(schedule_length(job.config), held_out=0.0, seed=job.seed)
    return train_and_score(job.config, budget, job.logs, job.state)


def train_whole(
    configs: Mapping[str, Config],
    seeds: int,
    folder: Folder,
    ray: str | None = None,
    wanted: Collection[str] = (),
    states: Mapping[str, State] | None = None,
) -> dict[str, list[float]]:
    """Trains configs by their whole schedules and scores them on the validation set.

    Every figure goes into :data:`RECORD` as soon as it is there, and what stands there
    is not trained again: all of a study takes a day, and no day in one piece.

    Args:
        configs: By what their networks are called.
        seeds: How many trainings each gets.
        folder: Gets the weights, and the logs.
        ray: None, or what :func:`mmnv3.search.pool.run_jobs` takes.
        wanted: Names of those whose weights of the first seed are needed; they are
            trained again where the folder lacks them.
        states: Weights that networks start from, by name; others start from scratch.

    Returns:
        By name the accuracies, 0 to 1, a seed after the other.

    Raises:
        UserError: When one cannot be trained; the others are trained all the same.
    """
    jobs = [
        _Training(
            config, name, seed, folder.path / 'whole' / 'logs', (states or {}).get(name)
        )
        for name, config in configs.items()
        for seed in range(seeds)
    ]
    problems = []
    with only_process(RECORD, 'wait for its end'):
        record = read_record()
        missing = [
            job
            for job in jobs
            if job.key not in record
            or (
                job.name in wanted
                and not job.seed
                and not (folder.path / job.weights).exists()
            )
        ]
        for index, trial in run_trials(_train, missing, ray):
            job = missing[index]
            if isinstance(trial, Failure):
                problems.append(f'{job.name}, seed {job.seed}: {trial}')
                continue
            if trial.accuracy is None or trial.state is None:
                problems.append(f'{job.name}, seed {job.seed}: {trial.problem}')
                continue
            folder.write_weights(job.weights, trial.state)
            record[job.key] = _row(job, trial)
            with writing(RECORD) as partial:
                text = json.dumps(list(record.values()), indent=1)
                partial.write_text(text + '\n', encoding='utf-8')
            print(f'{job.name}, seed {job.seed}: {trial.accuracy:.4f}', flush=True)
    if problems:
        raise UserError('; '.join(problems))
    return {
        name: [record[job.key]['accuracy'] for job in jobs if job.name == name]
        for name in configs
    }


def read_record() -> dict[str, dict[str, Any]]:
    """The trainings of :data:`RECORD` by their keys; nothing where there is none."""
    return {row['key']: row for row in read_json(RECORD)} if RECORD.is_file() else {}


def _row(job: _Training, trial: Trial) -> dict[str, Any]:
    machine = describe_machine(torch.get_num_threads())
    return dict(
        key=job.key,
        config=Path(job.config.filename or '').stem,
        network=job.name,
        seed=job.seed,
        metric=trial.metric,
        accuracy=trial.accuracy,
        minutes=round(trial.seconds / 60, 1),
        machine=machine_line(machine),
        day=date.today().isoformat(),
    )
