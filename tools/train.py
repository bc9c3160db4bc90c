"""Trains a config.

Example:
    python tools/train.py configs/ssdlite_mnv3_large_coco.py
"""

import os
from collections.abc import Sequence

# A thread that waits by spinning holds a core. With data-loading processes, or others,
# on the same cores that costs training a tenth of its time, or most of it.
os.environ.setdefault('OMP_WAIT_POLICY', 'PASSIVE')

from mmnv3.errors import end_on_ctrl_c, one_line_errors

end_on_ctrl_c(__name__)

from mmengine.config import Config

from mmnv3 import arguments
from mmnv3.engine.launch import (
    base_parser,
    build_runner,
    load_config,
    resumed_amp,
    set_amp,
    set_auto_scale_lr,
    set_resume,
    set_tensorboard,
)
from mmnv3.engine.screen import ProgressHook, Screen


@one_line_errors()
def main(argv: Sequence[str] | None = None) -> None:
    """Parses the arguments and trains."""
    parser = base_parser('Train a config.')
    parser.add_argument(
        '--resume',
        type=arguments.name,
        nargs='?',
        const='auto',
        metavar='CHECKPOINT',
        help='continue from a checkpoint; alone or as "auto", from the newest of the '
        'work directory',
    )
    precision = parser.add_mutually_exclusive_group()
    precision.add_argument(
        '--amp',
        action='store_true',
        help='mixed precision: float16 on a GPU, bfloat16 on a CPU',
    )
    precision.add_argument(
        '--auto-amp',
        action='store_true',
        help='mixed precision where it trains faster, which is measured first on a CPU '
        'that has bfloat16; a resumed training keeps the precision it had',
    )
    parser.add_argument(
        '--auto-scale-lr',
        action='store_true',
        help='scale the learning rate with the global batch size',
    )
    parser.add_argument(
        '--quiet',
        action='store_true',
        help='show warnings and what it came to, and no progress',
    )
    parser.add_argument(
        '--tensorboard',
        action='store_true',
        help='also write for TensorBoard, into vis_data of the run',
    )
    args = parser.parse_args(argv)
    config = load_config(args)
    if args.tensorboard:
        set_tensorboard(config)
    if args.auto_scale_lr:
        set_auto_scale_lr(config)
    if args.resume is not None:
        set_resume(config, args.resume)
    if args.amp or (args.auto_amp and _gains_by_amp(config)):
        set_amp(config)
    screen = Screen(args.quiet)
    runner = build_runner(config, screen=screen)
    progress = ProgressHook(screen)
    runner.register_hook(progress)
    with progress:
        runner.train()


def _gains_by_amp(config: Config) -> bool:
    # What times trainings builds whole models.
    from mmnv3.benchmark.training import trains_faster_by_amp

    resumed = resumed_amp(config)
    gains = trains_faster_by_amp(config) if resumed is None else resumed
    print(f'--auto-amp: {"mixed" if gains else "single"} precision')
    return gains


if __name__ == '__main__':
    main()
