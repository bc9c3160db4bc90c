"""From a config file to a running Runner: what the command-line tools share."""

from __future__ import annotations

import argparse
import os
from pathlib import Path

import torch
from mmengine.config import Config, DictAction
from mmengine.registry import RUNNERS
from mmengine.runner import Runner

from mmnv3.engine.checkpoints import find_resumable, read_checkpoint
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
        UserError: When the newest cannot be told.
    """
    newest = find_resumable(config.work_dir) if resume == 'auto' else resume
    config.resume, config.load_from = newest is not None, newest and str(newest)


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


def build_runner(config: Config) -> Runner:
    """Builds the Runner that a config describes.

    Raises:
        UserError: When the checkpoint that it starts from cannot be read, or cannot be
            resumed from. The Runner itself would find out after loading all data.
    """
    if config.get('resume') and not config.get('load_from'):
        set_resume(config, 'auto')
    if config.get('load_from'):
        meta = read_checkpoint(config.load_from).meta
        if config.get('resume') and 'iter' not in meta:
            raise UserError(
                f'{config.load_from} holds weights and not where training was; start '
                'from them with --cfg-options load_from=FILE instead of --resume'
            )
    return RUNNERS.build(config) if 'runner_type' in config else Runner.from_cfg(config)
