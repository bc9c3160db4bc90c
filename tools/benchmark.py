"""Says how many milliseconds a detector takes for one picture on this CPU.

Example:
    python tools/benchmark.py configs/ssdlite_mnv3_large_coco.py
"""

import argparse

import cv2
import numpy as np
import torch
from mmengine.config import DictAction
from mmengine.registry import MODELS, init_default_scope
from mmengine.runner import load_checkpoint
from rich.console import Console
from rich.table import Table

from mmnv3.analysis.latency import measure_detector
from mmnv3.datasets.load_image import read_image
from mmnv3.engine.launch import existing_checkpoint, one_line_errors, read_config


def main() -> None:
    """Parses the arguments, measures and prints a table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument('config', help='config of a single-stage detector')
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
        help='override settings of the config',
    )
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    with one_line_errors():
        config = read_config(args.config, args.cfg_options)
        init_default_scope(config.get('default_scope', 'mmdet'))
        torch.manual_seed(0)
        detector = MODELS.build(config.model)
        detector.init_weights()
        if args.checkpoint:
            path = existing_checkpoint(args.checkpoint)
            load_checkpoint(detector, path, 'cpu', strict=True)
        picture = (
            cv2.resize(read_image(args.image), tuple(args.size))
            if args.image
            else np.random.default_rng(0).integers(0, 256, (*args.size[::-1], 3))
        )
        inputs = [torch.from_numpy(picture.astype(np.uint8)).permute(2, 0, 1)]
        data = detector.eval().data_preprocessor(dict(inputs=inputs))
        found = measure_detector(detector, data['inputs'], args.runs)
    table = Table('stage', 'p50 ms', 'p90 ms', 'p99 ms')
    for stage, values in found.items():
        cells = np.percentile(values, (50, 90, 99))
        table.add_row(stage, *(f'{cell:.2f}' for cell in cells))
    share = np.median(found['post-processing']) / np.median(found['network'])
    Console().print(table)
    print(f'post-processing is {share:.1%} of the network, {args.threads} thread(s)')


if __name__ == '__main__':
    main()
