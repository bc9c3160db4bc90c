"""From a config file to a running Runner: what the command-line tools share."""

from __future__ import annotations

import argparse
import os
import warnings
from collections.abc import Iterator, Mapping
from pathlib import Path

import torch
from mmengine.config import Config
from mmengine.device import get_device
from mmengine.evaluator import DumpResults
from mmengine.fileio import dump
from mmengine.registry import RUNNERS
from mmengine.runner import Runner

from mmnv3 import arguments
from mmnv3.cpu import has_bf16
from mmnv3.engine.checkpoints import find_resumable, read_checkpoint
from mmnv3.engine.config import datasets_with_pipeline, read_config
from mmnv3.engine.screen import Screen
from mmnv3.errors import Remark, UserError
from mmnv3.files import check_output, whole_or_absent
from mmnv3.optional import require


def base_parser(description: str) -> argparse.ArgumentParser:
    """The options that training and testing share, named as in OpenMMLab's tools."""
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument(
        'config', type=arguments.config, help='config, a file or the name of ours'
    )
    parser.add_argument(
        '--work-dir',
        type=arguments.name,
        help='where logs and models go; by default '
        'work_dirs/ and the name of the config',
    )
    parser.add_argument(
        '--cfg-options',
        nargs='+',
        action=arguments.Settings,
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
    _check_launcher(args.launcher)
    check_output('--work-dir', config.work_dir, folder=True)
    if args.launcher == 'pytorch' and not torch.cuda.is_available():
        _join_cpu_processes(config)
    return config


# What tells a process which of them it is, and what sets it.
_LAUNCHERS = {
    'pytorch': ('torchrun', ('RANK', 'WORLD_SIZE', 'MASTER_ADDR', 'MASTER_PORT')),
    'slurm': ('srun', ('SLURM_PROCID', 'SLURM_NTASKS', 'SLURM_NODELIST')),
    'mpi': (
        'mpirun',
        ('OMPI_COMM_WORLD_RANK', 'OMPI_COMM_WORLD_LOCAL_RANK', 'MASTER_ADDR'),
    ),
}


def _check_launcher(launcher: str) -> None:
    """Refuses a launcher that did not start this process.

    Raises:
        UserError: Names what its environment lacks.
    """
    command, variables = _LAUNCHERS.get(launcher, ('', ()))
    missing = [name for name in variables if name not in os.environ]
    if missing:
        raise UserError(
            f'--launcher {launcher}: the environment has no {missing[0]}; start the '
            f'tool by {command}, or leave out --launcher'
        )


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


_BFLOAT16 = 'mmnv3.BFloat16OptimWrapper'


def set_amp(config: Config) -> None:
    """Turns mixed precision on: float16 on a GPU, bfloat16 on a CPU.

    Raises:
        UserError: For another device.
    """
    device = get_device()
    if device not in ('cuda', 'cpu'):
        raise UserError(f'--amp is for a GPU and for a CPU, not {device}; leave it out')
    if device == 'cpu':
        set_bfloat16(config)
        return
    config.optim_wrapper.type = 'AmpOptimWrapper'
    config.optim_wrapper.setdefault('loss_scale', 'dynamic')


def set_bfloat16(config: Config) -> None:
    """Makes training compute in bfloat16 on a CPU, and says so where that is slow."""
    if not has_bf16():
        warnings.warn(
            'this processor has no instructions for bfloat16, and trains many times '
            'slower in it',
            Remark,
            stacklevel=2,
        )
    config.optim_wrapper.type = _BFLOAT16
    for name in ('loss_scale', 'dtype', 'use_fsdp'):
        config.optim_wrapper.pop(name, None)


def resumed_amp(config: Config) -> bool | None:
    """Whether the training that a config continues had mixed precision.

    Returns:
        None where it continues none.

    Raises:
        UserError: When its checkpoint cannot be read.
    """
    if not config.get('resume') or config.get('load_from') is None:
        return None
    noted = str(read_checkpoint(config.load_from).meta.get('cfg'))
    return any(f"'{name}'" in noted for name in (_BFLOAT16, 'AmpOptimWrapper'))


def set_tensorboard(config: Config) -> None:
    """Lets training write what TensorBoard shows, into the run's ``vis_data``.

    Raises:
        UserError: When TensorBoard is not installed.
    """
    require('tensorboard', 'tensorflow')
    config.visualizer.vis_backends.append(dict(type='TensorboardVisBackend'))


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
        UserError: When the config has no visualization hook, or when windows cannot be
            opened here.
    """
    if show:
        _check_display()
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


def set_tta(config: Config) -> None:
    """Makes testing predict every picture several times, and join the results.

    Raises:
        UserError: When the config does not say how.
    """
    for key in ('tta_model', 'tta_pipeline'):
        if key not in config:
            raise UserError(
                f'{config.filename} has no {key}; add it as in configs/_base_, or '
                'leave out --tta'
            )
    config.model = dict(config.tta_model, module=config.model)
    for dataset in datasets_with_pipeline(config.test_dataloader.dataset):
        dataset.pipeline = config.tta_pipeline


def _check_display() -> None:
    from matplotlib import pyplot

    try:
        # Without a display this is a backend that draws to files alone.
        backend = pyplot.get_backend()
        pyplot.switch_backend(backend)
    except ImportError:
        backend = 'agg'
    if backend.lower() == 'agg':
        raise UserError(
            '--show opens windows, and there is no display, or no toolkit that '
            'matplotlib knows; draw to files with --show-dir FOLDER'
        )


class WholeResults(DumpResults):
    """mmengine's dump of predictions, as a file that is whole or absent."""

    def compute_metrics(self, results: list) -> dict:
        """Writes the predictions; there is nothing to tell of them."""
        with whole_or_absent(self.out_file_path) as partial:
            dump(results, partial, file_format='pkl')
        return {}


def build_runner(
    config: Config, trains: bool = True, screen: Screen | None = None
) -> Runner:
    """Builds the Runner that a config describes.

    Args:
        config: The config.
        trains: Whether it shall train, and so initialises its weights.
        screen: What of mmengine's log is shown on the screen; all of it for None.

    Raises:
        UserError: When a checkpoint that it starts from cannot be read, or cannot be
            resumed from. The Runner itself would find out after loading all data.
    """
    resume, start = config.get('resume', False), config.get('load_from')
    if resume and start is None:
        set_resume(config, 'auto')
        resume, start = config.resume, config.load_from
    if start is not None:
        meta = read_checkpoint(start, resume).meta
        if resume:
            _check_progress(config, meta)
    for path, prefix in _initial_weights(config.get('model')) if trains else ():
        keys = read_checkpoint(path).state
        if not any(key.startswith(prefix) for key in keys):
            raise UserError(
                f'{path} has no key that begins with {prefix!r}, the prefix of '
                f'init_cfg; its first is {next(iter(keys))}'
            )
    if 'runner_type' in config:
        return RUNNERS.build(config)
    return (screen.runner_class() if screen else Runner).from_cfg(config)


def _check_progress(config: Config, meta: Mapping) -> None:
    """Refuses to go on with a training that is past its end.

    mmengine would first pass over as many batches, one by one.
    """
    for count, limit in (('iter', 'max_iters'), ('epoch', 'max_epochs')):
        end = config.get('train_cfg', {}).get(limit)
        if end is not None and meta[count] > end:
            raise UserError(
                f'{config.load_from} is at {count} {meta[count]} and train_cfg.{limit} '
                f'is {end}; raise it, or resume from an earlier checkpoint'
            )


def _initial_weights(settings: object) -> Iterator[tuple[str, str]]:
    """Files that mmengine's ``Pretrained`` initialises parts of a model from.

    Args:
        settings: The model's, or a part of them.

    Yields:
        Their paths, each with the prefix of the keys that are taken from it.
    """
    if isinstance(settings, (list, tuple)):
        for value in settings:
            yield from _initial_weights(value)
    if isinstance(settings, Mapping):
        kind = str(settings.get('type')).rpartition('.')[2]
        if kind in ('Pretrained', 'PretrainedInit') and 'checkpoint' in settings:
            yield settings['checkpoint'], settings.get('prefix') or ''
        for value in settings.values():
            yield from _initial_weights(value)
