"""What studies of the searches share: options, and whole trainings that are kept."""

from __future__ import annotations

import argparse
from collections.abc import Sequence

from mmengine.config import Config

from mmnv3 import arguments
from mmnv3.engine.config import read_config
from mmnv3.errors import UserError
from mmnv3.files import check_output
from mmnv3.search.configs import Budget, schedule_length
from mmnv3.search.folder import Folder
from mmnv3.search.nas.space import SPACES
from mmnv3.search.trial import train_and_score


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


def train_whole(
    config: Config, seeds: Sequence[int], folder: Folder, name: str
) -> list[float]:
    """Trains a config by its whole schedule and scores it on its validation set.

    Args:
        config: The config.
        seeds: Of the trainings.
        folder: Keeps the figure of each, and the weights.
        name: What the network is called in the folder.

    Returns:
        Accuracies, 0 to 1.

    Raises:
        UserError: When one cannot be trained.
    """
    values = []
    for seed in seeds:
        place = f'whole/{name}_{seed}'
        record = folder.read_json(f'{place}.json')
        if record is None:
            budget = Budget(schedule_length(config), held_out=0.0, seed=seed)
            trial = train_and_score(config, budget, folder.path / 'whole' / 'logs')
            if trial.accuracy is None or trial.state is None:
                raise UserError(f'{name}, seed {seed}: {trial.problem}')
            folder.write_weights(f'{place}.pth', trial.state)
            record = dict(accuracy=trial.accuracy, seconds=round(trial.seconds, 1))
            folder.write_json(f'{place}.json', record)
        values.append(record['accuracy'])
        print(f'{name}, seed {seed}: {values[-1]:.4f}', flush=True)
    return values
