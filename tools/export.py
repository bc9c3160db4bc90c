"""Exports a trained model to a file that another runtime executes.

Example:
    python tools/export.py configs/ssdlite_mnv3_large_coco.py large.pth \
        --format onnx --out large.onnx
"""

import argparse
import warnings

from mmengine.config import DictAction
from rich.console import Console

from mmnv3.deploy.export import FORMATS
from mmnv3.deploy.loading import export_config
from mmnv3.engine.launch import one_line_errors


def main() -> None:
    """Parses the arguments and exports."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument('config', help='config file')
    parser.add_argument('checkpoint', help='its trained weights')
    parser.add_argument(
        '--format', choices=FORMATS, required=True, help='whose file to write'
    )
    endings = ', '.join(
        f'{kind.suffixes[0]} ({name})' for name, kind in FORMATS.items()
    )
    parser.add_argument('--out', required=True, help=f'file to write: {endings}')
    parser.add_argument(
        '--size',
        nargs=2,
        type=int,
        metavar=('W', 'H'),
        help="pixels of the input; by default what the detector's anchors or the "
        "config's test pipeline say",
    )
    parser.add_argument(
        '--cfg-options',
        nargs='+',
        action=DictAction,
        metavar='KEY=VALUE',
        help='override settings of the config, as in '
        'model.bbox_head.anchor_generator.input_size=256',
    )
    args = parser.parse_args()
    # The libraries talk to their developers about each other.
    warnings.simplefilter('ignore')
    with one_line_errors():
        info = export_config(
            args.config,
            args.checkpoint,
            args.out,
            args.format,
            tuple(args.size) if args.size else None,
            args.cfg_options,
        )
    width, height = info.size
    Console(stderr=True, highlight=False).print(
        f'{info.task} of {len(info.classes)} classes at {width}x{height} pixels: '
        f'{", ".join(info.outputs)}\nwritten to {args.out}'
    )


if __name__ == '__main__':
    main()
