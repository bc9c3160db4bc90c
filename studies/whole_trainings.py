"""Whole trainings of networks, each kept as soon as it ends."""

from __future__ import annotations

from collections.abc import Sequence

from mmengine.config import Config

from mmnv3.errors import UserError
from mmnv3.search.configs import Budget, schedule_length
from mmnv3.search.folder import Folder
from mmnv3.search.trial import train_and_score


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
