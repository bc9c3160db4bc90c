"""Says how many milliseconds models take for one picture on this CPU.

Example:
    python tools/benchmark.py configs/ssdlite_mnv3_large_coco.py
    python tools/benchmark.py configs/lraspp_mnv3_large_cityscapes.py \
        torchvision:lraspp_mobilenet_v3_large --size 640 480
"""

import argparse

import cv2
import numpy as np
import torch
from mmengine.config import DictAction
from rich.console import Console
from rich.table import Table

from mmnv3.analysis.latency import measure
from mmnv3.analysis.subjects import POST, build_model, find_stages, prepare
from mmnv3.datasets.load_image import read_image
from mmnv3.engine.launch import one_line_errors
from mmnv3.errors import UserError


def main() -> None:
    """Parses the arguments, measures and prints a table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument(
        'models',
        nargs='+',
        metavar='CONFIG',
        help='configs of detectors or segmenters, or torchvision:NAME for one of its '
        'segmenters; several take turns in one run',
    )
    parser.add_argument('--checkpoint', help='without one the weights are random')
    parser.add_argument('--image', help='a picture; without one it is noise')
    parser.add_argument(
        '--size',
        type=int,
        nargs=2,
        default=(320, 320),
        metavar=('WIDTH', 'HEIGHT'),
        help='input pixels',
    )
    parser.add_argument('--threads', type=int, default=1)
    parser.add_argument('--runs', type=int, default=50)
    parser.add_argument(
        '--cfg-options',
        nargs='+',
        action=DictAction,
        metavar='KEY=VALUE',
        help='override settings of the configs',
    )
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    size = (args.size[1], args.size[0])
    with one_line_errors():
        if args.checkpoint and len(args.models) > 1:
            raise UserError('--checkpoint is for one config, and there are several')
        picture = (
            cv2.resize(read_image(args.image), tuple(args.size))
            if args.image
            else np.random.default_rng(0).integers(0, 256, (*size, 3), np.uint8)
        )
        ready = {}
        for name in args.models:
            model = build_model(name, args.cfg_options, args.checkpoint)
            ready[name] = find_stages(model, size), prepare(model, picture)
        found = measure(ready, args.runs)
    totals = {name: sum(stages.values()) for name, stages in found.items()}
    table = Table('model', 'stage', 'p50 ms', 'p90 ms', 'p99 ms', 'to the first')
    for name, stages in found.items():
        for stage, times in {**stages, 'both': totals[name]}.items():
            cells = [f'{cell:.2f}' for cell in np.percentile(times, (50, 90, 99))]
            ratio = np.median(times) / np.median(
                {**found[args.models[0]], 'both': totals[args.models[0]]}[stage]
            )
            table.add_row(name, stage, *cells, f'{ratio:.2f}')
    Console(width=120).print(table)
    for name, stages in found.items():
        share = np.median(stages[POST]) / np.median(totals[name] - stages[POST])
        print(f'{name}: post-processing is {share:.1%} of the network')


if __name__ == '__main__':
    main()
