"""Exports a trained model to a file that another runtime executes.

Example:
    python tools/export.py configs/ssdlite_mnv3_large_coco.py large.pth \
        --format onnx --out large.onnx
    python tools/export.py configs/ssdlite_mnv3_large_coco.py large.pth \
        --format litert --precision int8 --calib data/coco/train2017 \
        --out large_int8.tflite
    python tools/export.py configs/ssdlite_mnv3_large_coco.py large.pth \
        --format web --out site
"""

import argparse
import shlex
from collections.abc import Sequence
from pathlib import Path

from mmnv3.errors import end_on_ctrl_c, one_line_errors

end_on_ctrl_c(__name__)

from rich.console import Console

from mmnv3 import arguments
from mmnv3.deploy.export import FORMATS, export_config, export_site
from mmnv3.deploy.fastest import AUTO
from mmnv3.deploy.info import PRECISIONS
from mmnv3.deploy.site import WEB
from mmnv3.files import check_output


@one_line_errors()
def main(argv: Sequence[str] | None = None) -> None:
    """Parses the arguments and exports."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument(
        'config', type=arguments.config, help='config, a file or the name of ours'
    )
    parser.add_argument('checkpoint', type=arguments.name, help='its trained weights')
    parser.add_argument(
        '--format',
        choices=[*FORMATS, WEB],
        required=True,
        help=f'whose file to write; {WEB} is a folder for a web server, with a page '
        'that runs the model in browsers, to which each export adds its model',
    )
    endings = ', '.join(
        f'{kind.suffixes[0]} ({name})' for name, kind in FORMATS.items()
    )
    parser.add_argument(
        '--out',
        type=arguments.name,
        help='file to write, by default beside the checkpoint, of an address in the '
        f'current folder: {endings}',
    )
    parser.add_argument(
        '--size',
        nargs=2,
        type=arguments.pixels,
        metavar=('W', 'H'),
        help="pixels of the input; by default what the detector's anchors or the "
        "config's test pipeline say",
    )
    parser.add_argument(
        '--batch',
        type=arguments.batch,
        default=1,
        help='pictures of one call; 1 by default',
    )
    parser.add_argument(
        '--with-postprocess',
        action='store_true',
        help='suppress boxes, or choose the class of every pixel, inside the file',
    )
    parser.add_argument(
        '--with-preprocess',
        action='store_true',
        help='take an RGB picture of any size as it is, and give boxes, classes or a '
        'mask of that picture; includes --with-postprocess. Of litert: take the pixels '
        'of a resized picture, which MediaPipe Tasks do',
    )
    parser.add_argument(
        '--precision',
        choices=[*PRECISIONS, AUTO],
        default='fp32',
        help='fp16: weights of 16 bits, in half the size; bf16: computed in bfloat16, '
        'where the processor can; int8: the smallest, needs --calib; auto: what is the '
        'fastest here; by default fp32',
    )
    parser.add_argument(
        '--calib',
        type=arguments.name,
        metavar='DIR',
        help='folder of some 100 to 200 pictures like those the model will see',
    )
    parser.add_argument(
        '--cfg-options',
        nargs='+',
        action=arguments.Settings,
        metavar='KEY=VALUE',
        help='override settings of the config, as in '
        'model.bbox_head.anchor_generator.input_size=256',
    )
    args = parser.parse_args(argv)
    inputs = [args.config, args.checkpoint, args.calib]
    size = tuple(args.size) if args.size else None
    if args.format == WEB:
        out = args.out or _beside(args.checkpoint, '_site')
        check_output('--out', out, inputs, folder=True)
        info = export_site(
            args.config,
            args.checkpoint,
            out,
            size,
            args.cfg_options,
            args.batch,
            args.precision,
            args.calib,
        )
    else:
        suffix = '' if args.precision == 'fp32' else f'_{args.precision}'
        suffixes = FORMATS[args.format].suffixes
        out = args.out or _beside(args.checkpoint, f'{suffix}{suffixes[0]}')
        for path in (out, *(Path(out).with_suffix(end) for end in suffixes[1:])):
            check_output('--out', path, inputs)
        info = export_config(
            args.config,
            args.checkpoint,
            out,
            args.format,
            size,
            args.cfg_options,
            args.batch,
            args.with_postprocess,
            args.precision,
            args.calib,
            args.with_preprocess,
        )
    width, height = info.size
    Console(stderr=True, highlight=False, markup=False).print(
        f'{info.task} of {len(info.classes)} classes at {width}x{height} pixels in '
        f'{info.precision}: '
        f'{", ".join(info.outputs)}\nwritten to {out}'
    )
    if args.format == WEB:
        print(f'python -m mmnv3 web {shlex.quote(str(out))}')


def _beside(checkpoint: str, ending: str) -> Path:
    """A file named like a checkpoint; of an address it is in the current folder."""
    if '://' in checkpoint:
        return Path(f'{checkpoint.rpartition("/")[2]}{ending}')
    return Path(checkpoint).with_name(f'{Path(checkpoint).stem}{ending}')


if __name__ == '__main__':
    main()
