"""What a Runner is started with: checkpoints are opened before it is built."""

import pickle
from argparse import Namespace
from pathlib import Path

import pytest
import torch
from matplotlib import pyplot
from mmengine.config import Config
from mmengine.runner import Runner

from mmnv3.engine.checkpoints import write_checkpoint
from mmnv3.engine.launch import (
    WholeResults,
    build_runner,
    load_config,
    resumed_amp,
    set_amp,
    set_drawing,
    set_resume,
    set_tta,
)
from mmnv3.errors import Remark, UserError
from tests.engine.test_checkpoints import write_training
from tests.tools import TOOLS, main_of, run_tool

STATE = dict(a=torch.zeros(3))
CONFIG = TOOLS.parent / 'configs/ssdlite_mnv3_small_demo.py'


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
        write_training(tmp_path / f'iter_{number}.pth')
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
        ('', False, 'the name of the checkpoint is empty'),
        ('', True, 'the name of the checkpoint is empty'),
    ):
        with pytest.raises(UserError, match=message):
            build_runner(Config(dict(load_from=str(path), resume=resume)))
    assert not started
    build_runner(Config(dict(load_from=str(weights))))
    assert len(started) == 1


@pytest.mark.parametrize(
    'train_cfg', [dict(max_iters=9), dict(by_epoch=True, max_epochs=9)]
)
def test_a_training_past_its_end_is_not_resumed(
    train_cfg: dict, started: list[Config], tmp_path: Path
) -> None:
    count = 'epoch' if 'by_epoch' in train_cfg else 'iter'
    path = tmp_path / 'far.pth'
    config = Config(dict(load_from=str(path), resume=True, train_cfg=train_cfg))
    for number in (9, 1_000_000):
        write_training(path, meta={'iter': 1, 'epoch': 1, count: number})
        if number == 9:
            build_runner(config)
    with pytest.raises(
        UserError, match=f'is at {count} 1000000 and train_cfg.max_{count}s is 9; raise'
    ):
        build_runner(config)
    assert len(started) == 1


def test_what_parts_are_initialised_from_is_opened_first(
    started: list[Config], tmp_path: Path
) -> None:
    def config(name: str, **init_cfg: object) -> Config:
        init = dict(checkpoint=str(tmp_path / name), **init_cfg)
        return Config(dict(model=dict(backbone=dict(init_cfg=[init]))))

    (tmp_path / 'text.pth').write_text('hello')
    write_checkpoint(tmp_path / 'a.pth', {'backbone.a': torch.zeros(1)})
    for init_cfg, message in (
        (dict(name='text.pth', type='Pretrained'), 'text.pth cannot be read'),
        (dict(name='gone.pth', type='mmdet.Pretrained'), 'gone.pth: there is no'),
        (
            dict(name='a.pth', type='Pretrained', prefix='neck.'),
            "a.pth has no key that begins with 'neck.*; its first is backbone.a",
        ),
    ):
        with pytest.raises(UserError, match=message):
            build_runner(config(**init_cfg))
    assert not started
    build_runner(config('a.pth', type='Pretrained', prefix='backbone.'))
    # Testing needs none of it.
    build_runner(config('gone.pth', type='Pretrained'), trains=False)
    assert len(started) == 2


@pytest.mark.parametrize(
    ('launcher', 'message'),
    [
        ('pytorch', 'has no RANK; start the tool by torchrun, or leave out --launcher'),
        ('slurm', 'has no SLURM_PROCID; start the tool by srun'),
        ('mpi', 'has no OMPI_COMM_WORLD_RANK; start the tool by mpirun'),
    ],
)
def test_a_launcher_that_did_not_start_the_process_is_refused(
    launcher: str, message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ('RANK', 'SLURM_PROCID', 'OMPI_COMM_WORLD_RANK'):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv('LOCAL_RANK', '0')
    (tmp_path / 'a.py').write_text("model = dict(type='Net')")
    args = Namespace(
        config=str(tmp_path / 'a.py'),
        cfg_options=None,
        launcher=launcher,
        work_dir=None,
        local_rank=0,
    )
    with pytest.raises(UserError, match=f'--launcher {launcher}: .*{message}'):
        load_config(args)


def test_augmentation_in_testing_needs_a_config_that_says_how() -> None:
    with pytest.raises(UserError, match='has no tta_model; add it as in configs/_base'):
        set_tta(Config(dict(model={})))


def test_windows_need_a_display(monkeypatch: pytest.MonkeyPatch) -> None:
    hook = dict(type='DetVisualizationHook')
    config = Config(dict(default_hooks=dict(visualization=hook)))
    monkeypatch.delenv('DISPLAY', raising=False)
    monkeypatch.delenv('WAYLAND_DISPLAY', raising=False)
    for backend in ('agg', 'tkagg'):
        with monkeypatch.context() as changed:
            changed.setitem(pyplot.rcParams, 'backend', backend)
            with pytest.raises(UserError, match='--show opens windows, and there is'):
                set_drawing(config, None, show=True)
    set_drawing(config, 'drawn', show=False)


def test_predictions_are_written_whole(small_disk: Path) -> None:
    path = small_disk / 'found.pkl'
    WholeResults(str(path)).compute_metrics([{'boxes': 1}])
    assert pickle.loads(path.read_bytes()) == [{'boxes': 1}]
    with pytest.raises(OSError, match=r'No space left on device: .*found.pkl'):
        WholeResults(str(path)).compute_metrics(['x' * 100_000])
    assert pickle.loads(path.read_bytes()) == [{'boxes': 1}]
    assert list(small_disk.iterdir()) == [path]


@pytest.mark.parametrize('capable', [True, False])
def test_mixed_precision_on_a_cpu_is_bfloat16(
    capable: bool, monkeypatch: pytest.MonkeyPatch, recwarn: pytest.WarningsRecorder
) -> None:
    monkeypatch.setattr('mmnv3.engine.launch.get_device', lambda: 'cpu')
    monkeypatch.setattr('mmnv3.engine.launch.has_bf16', lambda: capable)
    given = dict(type='AmpOptimWrapper', dtype='float16', loss_scale=2.0, clip_grad={})
    config = Config(dict(optim_wrapper=given))
    set_amp(config)
    assert config.optim_wrapper == dict(type='mmnv3.BFloat16OptimWrapper', clip_grad={})
    remarks = [w for w in recwarn if issubclass(w.category, Remark)]
    assert len(remarks) == (not capable)


def test_mixed_precision_on_other_devices(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr('mmnv3.engine.launch.get_device', lambda: 'cuda')
    config = Config(dict(optim_wrapper=dict(type='OptimWrapper')))
    set_amp(config)
    expected = dict(type='AmpOptimWrapper', loss_scale='dynamic')
    assert config.optim_wrapper == expected
    monkeypatch.setattr('mmnv3.engine.launch.get_device', lambda: 'mps')
    with pytest.raises(UserError, match='--amp is for a GPU and for a CPU, not mps'):
        set_amp(config)


@pytest.mark.parametrize(
    ('wrapper', 'mixed'),
    [
        ('OptimWrapper', False),
        ('AmpOptimWrapper', True),
        ('mmnv3.BFloat16OptimWrapper', True),
    ],
)
def test_a_resumed_training_had_a_precision(
    wrapper: str, mixed: bool, tmp_path: Path
) -> None:
    config = Config(dict(optim_wrapper=dict(type=wrapper), work_dir=str(tmp_path)))
    assert resumed_amp(config) is None
    set_resume(config, 'auto')
    assert resumed_amp(config) is None
    meta = dict(iter=1, epoch=0, cfg=config.pretty_text)
    write_training(tmp_path / 'iter_1.pth', meta=meta)
    set_resume(config, 'auto')
    assert resumed_amp(config) is mixed


@pytest.mark.parametrize(
    ('gains', 'wrapper'),
    [(True, 'mmnv3.BFloat16OptimWrapper'), (False, 'OptimWrapper')],
)
def test_the_tool_trains_in_what_was_measured_to_be_faster(
    gains: bool,
    wrapper: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture,
) -> None:
    built: list[Config] = []

    def build(config: Config, **_: object) -> None:
        built.append(config)
        raise SystemExit(0)

    monkeypatch.setitem(
        main_of('train.py').__wrapped__.__globals__, 'build_runner', build
    )
    measure = 'mmnv3.benchmark.training.trains_faster_by_amp'
    monkeypatch.setattr(measure, lambda config: gains)
    monkeypatch.setattr('mmnv3.engine.launch.get_device', lambda: 'cpu')
    monkeypatch.setattr('mmnv3.engine.launch.has_bf16', lambda: True)
    command = (CONFIG, '--work-dir', tmp_path, '--auto-amp')
    assert run_tool('train.py', *command) == 0
    assert [config.optim_wrapper.type for config in built] == [wrapper]
    told = 'mixed' if gains else 'single'
    assert f'--auto-amp: {told} precision' in capsys.readouterr().out
    assert run_tool('train.py', *command, '--amp') == 2
