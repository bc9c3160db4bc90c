"""What a Runner is started with: checkpoints are opened before it is built."""

from pathlib import Path

import pytest
import torch
from mmengine.config import Config
from mmengine.runner import Runner

from mmnv3.engine.checkpoints import write_checkpoint
from mmnv3.engine.launch import build_runner, set_resume
from mmnv3.errors import UserError

STATE = dict(a=torch.zeros(3))


@pytest.fixture
def started(monkeypatch: pytest.MonkeyPatch) -> list[Config]:
    """The configs that a Runner was built of."""
    configs = []
    monkeypatch.setattr(Runner, 'from_cfg', configs.append)
    return configs


def test_the_newest_is_resumed_however_it_is_asked_for(
    started: list[Config], tmp_path: Path
) -> None:
    for number in (9, 10):
        write_checkpoint(tmp_path / f'iter_{number}.pth', STATE, dict(iter=number))
    # A kill can leave it empty, and mmengine would believe it.
    (tmp_path / 'last_checkpoint').touch()
    build_runner(Config(dict(work_dir=str(tmp_path), resume=True)))
    asked = Config(dict(work_dir=str(tmp_path)))
    set_resume(asked, 'auto')
    build_runner(asked)
    for config in started:
        assert config.resume
        assert config.load_from == str(tmp_path / 'iter_10.pth')
    assert len(started) == 2


def test_without_a_checkpoint_a_training_starts(
    started: list[Config], tmp_path: Path
) -> None:
    build_runner(Config(dict(work_dir=str(tmp_path), resume=True)))
    assert not started[0].resume and started[0].load_from is None


def test_what_cannot_be_started_from_is_refused_first(
    started: list[Config], tmp_path: Path
) -> None:
    damaged, weights = tmp_path / 'damaged.pth', tmp_path / 'weights.pth'
    damaged.write_bytes(b'PK')
    write_checkpoint(weights, STATE)
    for path, resume, message in (
        (damaged, False, 'damaged.pth cannot be read as a checkpoint'),
        (damaged, True, 'damaged.pth cannot be read as a checkpoint'),
        (weights, True, 'weights.pth holds weights and not where training was'),
        (tmp_path / 'gone.pth', False, 'gone.pth: there is no such checkpoint'),
    ):
        with pytest.raises(UserError, match=message):
            build_runner(Config(dict(load_from=str(path), resume=resume)))
    assert not started
    build_runner(Config(dict(load_from=str(weights))))
    assert len(started) == 1
