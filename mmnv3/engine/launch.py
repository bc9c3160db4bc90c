"""From a config file to a running Runner: what the command-line tools share."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import torch
from mmengine.config import Config, DictAction
from mmengine.registry import RUNNERS
from mmengine.runner import Runner

from mmnv3.engine.checkpoint_hook import find_resumable
from mmnv3.engine.config import read_config
from mmnv3.errors import UserError


def base_parser(description: str) -> argparse.ArgumentParser:
    """The options that training and testing share, named as in OpenMMLab's tools."""
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument('config', help='config file')
    parser.add_argument(
        '--work-dir',
        help='where logs and models go; by default '
        'work_dirs/ and the name of the config',
    )
    parser.add_argument(
        '--cfg-options',
        nargs='+',
        action=DictAction,
        metavar='KEY=VALUE',
        help='override settings of the config, as in train_cfg.max_iters=100',
    )
    parser.add_argument(
        '--launcher',
        choices=['none', 'pytorch', 'slurm', 'mpi'],
        default='none',
        help='job launcher',
    )
    # torch.distributed.launch passes it in either spelling.
    parser.add_argument(
        '--local_rank', '--local-rank', type=int, default=0, help=argparse.SUPPRESS
    )
    return parser


def load_config(args: argparse.Namespace) -> Config:
    """Reads the config of parsed arguments and applies the shared options.

    Raises:
        UserError: When the file is missing.
    """
    os.environ.setdefault('LOCAL_RANK', str(args.local_rank))
    config = read_config(args.config, args.cfg_options)
    config.launcher = args.launcher
    config.work_dir = (
        args.work_dir
        or config.get('work_dir')
        or str(Path('work_dirs') / Path(args.config).stem)
    )
    if args.launcher == 'pytorch' and not torch.cuda.is_available():
        _join_cpu_processes(config)
    return config


def _join_cpu_processes(config: Config) -> None:
    """Joins the processes that torchrun started on a machine without a GPU.

    Upstream fault: mmengine 0.10.7 sets a CUDA device and gives the model one whenever
    a launcher is used. It does the first only if no process group exists yet, and not
    the second if the config names the devices. Goes when mmengine asks for a GPU first.
    """
    torch.distributed.init_process_group('gloo')
    config.setdefault(
        'model_wrapper_cfg',
        dict(
            type='MMDistributedDataParallel', device_ids=None, broadcast_buffers=False
        ),
    )


def set_resume(config: Config, resume: str) -> None:
    """Makes a config continue a training.

    Args:
        config: The config.
        resume: A checkpoint, or ``'auto'`` for the newest of the work directory
            (a training that has none yet starts).

    Raises:
        UserError: When the checkpoint does not exist.
    """
    if resume == 'auto':
        newest = find_resumable(config.work_dir)
        config.resume, config.load_from = newest is not None, newest and str(newest)
        return
    config.resume, config.load_from = True, existing_checkpoint(resume)


def set_amp(config: Config) -> None:
    """Turns mixed precision on.

    Raises:
        UserError: Where no accelerator supports it.
    """
    if not torch.cuda.is_available():
        raise UserError('--amp needs a GPU and there is none; leave it out')
    config.optim_wrapper.type = 'AmpOptimWrapper'
    config.optim_wrapper.setdefault('loss_scale', 'dynamic')


def set_auto_scale_lr(config: Config) -> None:
    """Scales the learning rate with the global batch.

    Raises:
        UserError: When the config does not say for which batch its rate is.
    """
    if 'base_batch_size' not in config.get('auto_scale_lr', {}):
        raise UserError(
            f'{config.filename} has no auto_scale_lr.base_batch_size; set it to the '
            'batch that its learning rate is for, or leave out --auto-scale-lr'
        )
    config.auto_scale_lr.enable = True


def set_drawing(config: Config, show_dir: str | None, show: bool) -> None:
    """Makes testing draw what it finds.

    Args:
        config: The config.
        show_dir: Where the pictures go, inside the work directory's folder of the run
            as elsewhere in OpenMMLab; None draws to no file.
        show: Whether to open windows.

    Raises:
        UserError: When the config has no visualization hook.
    """
    hook = config.get('default_hooks', {}).get('visualization')
    if hook is None:
        raise UserError(
            f'{config.filename} has no default_hooks.visualization, which draws'
        )
    # mmpretrain's hook has its own name for it.
    switch = 'draw' if hook.type.startswith(('Det', 'Seg')) else 'enable'
    hook.update({switch: True, 'show': show})
    if not show_dir:
        return
    if hook.type.startswith('Det'):
        hook.test_out_dir = show_dir
        return
    # The others leave the place to the backends, which start from vis_data.
    for backend in config.visualizer.vis_backends:
        if backend.type == 'LocalVisBackend':
            backend.img_save_dir = os.path.join(os.pardir, show_dir)


def existing_checkpoint(path: str) -> str:
    """Returns the path of a local file as it is; web addresses pass.

    Raises:
        UserError: When there is no such file.
    """
    if '://' not in path and not Path(path).is_file():
        raise UserError(f'{path}: there is no such checkpoint')
    return path


def build_runner(config: Config) -> Runner:
    """Builds the Runner that a config describes."""
    return RUNNERS.build(config) if 'runner_type' in config else Runner.from_cfg(config)


@contextmanager
def one_line_errors() -> Iterator[None]:
    """Prints a :class:`UserError` as one line and ends the process with status 2.

    It also finds one that a data-loading process raised, which arrives with that
    process's traceback as its text.
    """
    try:
        yield
    except UserError as error:
        line = str(error).strip().splitlines()[-1]
        line = line.removeprefix(f'{UserError.__module__}.{UserError.__name__}: ')
        print(f'error: {line}', file=sys.stderr)
        sys.exit(2)
