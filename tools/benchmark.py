"""Says how fast models are on this machine: milliseconds a picture, or training.

Example:
    python tools/benchmark.py configs/ssdlite_mnv3_large_coco.py --backend all
    python tools/benchmark.py configs/lraspp_mnv3_large_cityscapes.py \
        torchvision:lraspp_mobilenet_v3_large --size 640 480
    python tools/benchmark.py configs/ssdlite_mnv3_large_coco.py --task train
"""

import argparse
import os
from collections.abc import Sequence

# A thread that waits by spinning would take its core from the next model's turn.
os.environ.setdefault('OMP_WAIT_POLICY', 'PASSIVE')


from mmnv3.errors import end_on_ctrl_c, one_line_errors

end_on_ctrl_c(__name__)

from mmnv3 import arguments
from mmnv3.benchmark.latency import benchmark_latency
from mmnv3.benchmark.timed_model import DEVICES, Request
from mmnv3.benchmark.training import benchmark_training
from mmnv3.deploy.info import PRECISIONS
from mmnv3.deploy.runtime import BACKENDS
from mmnv3.files import check_output


@one_line_errors()
def main(argv: Sequence[str] | None = None) -> None:
    """Parses the arguments and measures."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument(
        'models',
        type=arguments.config,
        nargs='+',
        metavar='CONFIG',
        help='configs of mmdet, mmseg or mmpretrain, ours or not, or torchvision:NAME; '
        'all take turns in one run',
    )
    parser.add_argument('--task', choices=['latency', 'train'], default='latency')
    parser.add_argument(
        '--backend',
        type=arguments.names,
        default=['pytorch'],
        metavar='NAME[,NAME]',
        help=f'{", ".join(BACKENDS)}; all takes those that are installed',
    )
    parser.add_argument(
        '--precision',
        type=arguments.names,
        default=['fp32'],
        metavar='NAME[,NAME]',
        help=f'{", ".join(PRECISIONS)}; all takes those that the backends have; in '
        'training fp32, bf16 or both',
    )
    parser.add_argument(
        '--checkpoint', type=arguments.name, help='without one the weights are random'
    )
    parser.add_argument(
        '--image',
        type=arguments.name,
        help='a picture; without one it is 640x480 of noise',
    )
    parser.add_argument(
        '--calib',
        type=arguments.name,
        metavar='FOLDER',
        help='pictures to calibrate int8 on; without them it is noise, good for times',
    )
    parser.add_argument(
        '--size',
        type=arguments.pixels,
        nargs=2,
        metavar=('WIDTH', 'HEIGHT'),
        help='input pixels; by default what the config tests with',
    )
    parser.add_argument(
        '--batch',
        type=arguments.batch,
        help='pictures of a call; 1, in training the config’s',
    )
    parser.add_argument('--threads', type=arguments.threads, default=1)
    parser.add_argument('--device', choices=DEVICES, default='cpu')
    parser.add_argument(
        '--runs', type=arguments.count, help='measured calls; 50, in training 10'
    )
    parser.add_argument(
        '--json', type=arguments.path, metavar='FILE', help='everything measured'
    )
    parser.add_argument(
        '--plot', type=arguments.path, metavar='FILE', help='a bar chart'
    )
    parser.add_argument(
        '--cfg-options',
        nargs='+',
        action=arguments.Settings,
        metavar='KEY=VALUE',
        help='override settings of the configs',
    )
    args = parser.parse_args(argv)
    given = [*args.models, args.checkpoint, args.image, args.calib]
    check_output('--json', args.json, given)
    check_output('--plot', args.plot, [*given, args.json])
    measure = dict(latency=benchmark_latency, train=benchmark_training)[args.task]
    requests = [
        Request(
            model=model,
            options=None if model.startswith('torchvision:') else args.cfg_options,
            checkpoint=args.checkpoint,
            size=args.size and tuple(args.size),
            batch=args.batch,
            threads=args.threads,
            device=args.device,
            image=args.image,
            calibration=args.calib,
        )
        for model in args.models
    ]
    measure(
        requests,
        backends=args.backend,
        precisions=args.precision,
        runs=args.runs,
        json_path=args.json,
        plot_path=args.plot,
    )


if __name__ == '__main__':
    main()
