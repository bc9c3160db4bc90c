"""Finds boxes, masks or classes in pictures and videos, and draws them.

Example:
    python tools/predict.py small.onnx pictures/ --out drawn
    python tools/predict.py configs/ssdlite_mnv3_small_demo.py a.jpg b.png \
        --checkpoint work_dirs/ssdlite_mnv3_small_demo/iter_840.pth --out drawn
"""

import argparse
import time
from collections.abc import Sequence
from typing import Any

from mmnv3.errors import end_on_ctrl_c, interrupt_on_sigterm, one_line_errors

end_on_ctrl_c(__name__)

from mmnv3 import Predictor, arguments
from mmnv3.deploy.fastest import AUTO
from mmnv3.deploy.info import PRECISIONS
from mmnv3.deploy.predict_files import predict_files
from mmnv3.deploy.ray_data import predict_on_ray
from mmnv3.deploy.writers import (
    SAVE_FORMATS,
    CocoIds,
    crop_writer,
    json_writer,
    save_writer,
)
from mmnv3.files import check_output
from mmnv3.memory import keep_freed_memory
from mmnv3.ray_cluster import HERE


@one_line_errors()
def main(argv: Sequence[str] | None = None) -> None:
    """Parses the arguments, predicts, draws and tells."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument('model', type=arguments.config, help='exported file, or config')
    parser.add_argument(
        'images',
        type=arguments.name,
        nargs='+',
        metavar='IMAGES',
        help='pictures, videos, folders with all inside, the number of a camera (0), '
        'or the address of a stream',
    )
    parser.add_argument(
        '--checkpoint',
        type=arguments.name,
        help="the config's weights; else random ones",
    )
    parser.add_argument(
        '--backend',
        help='pytorch, compile, onnxruntime, openvino, litert or executorch; by '
        'default pytorch, or what an exported file is for',
    )
    parser.add_argument(
        '--precision',
        choices=[*PRECISIONS, AUTO],
        help='what is computed in; auto takes the fastest of what is installed, or of '
        'what --backend has; by default fp32, or what an exported file is in',
    )
    parser.add_argument(
        '--calib',
        type=arguments.name,
        metavar='FOLDER',
        help='some 100 to 200 pictures like those to come, for int8 of a config',
    )
    parser.add_argument(
        '--threads', type=arguments.threads, help='cores to use; by default all'
    )
    parser.add_argument(
        '--size',
        nargs=2,
        type=arguments.pixels,
        metavar=('W', 'H'),
        help='pixels of the input',
    )
    parser.add_argument('--batch', type=arguments.batch, help='pictures of one call')
    parser.add_argument(
        '--score-thr',
        type=arguments.number,
        default=0.3,
        help='what detections must score to be drawn, written and told (0.3)',
    )
    parser.add_argument('--out', type=arguments.name, help='folder to draw into')
    parser.add_argument(
        '--show', action='store_true', help='show what is drawn in a window'
    )
    parser.add_argument(
        '--json',
        type=arguments.name,
        help='file to write what was found to; of .jsonl each picture is a line',
    )
    parser.add_argument(
        '--save-format',
        nargs='+',
        default=[],
        choices=list(SAVE_FORMATS),
        help='formats of other programs to write what was found in',
    )
    parser.add_argument(
        '--save-dir',
        type=arguments.name,
        help='folder for them; by default that of --out',
    )
    parser.add_argument(
        '--ann-file',
        type=arguments.name,
        help='COCO file whose ids the formats take; by default they count from 1',
    )
    parser.add_argument(
        '--save-crops',
        type=arguments.name,
        metavar='FOLDER',
        help='folder for a picture of every detection, in a folder of its class',
    )
    parser.add_argument(
        '--cfg-options',
        nargs='+',
        action=arguments.Settings,
        metavar='KEY=VALUE',
        help='override settings of the config, as in model.test_cfg.max_per_img=300',
    )
    parser.add_argument(
        '--ray',
        type=arguments.name,
        nargs='?',
        const=HERE,
        metavar='ADDRESS',
        help='predict by Ray Data, here or on the cluster at an address, and write '
        'Parquet into the folder --out; IMAGES may be addresses as s3://bucket/folder, '
        'and .txt files of them',
    )
    args = parser.parse_args(argv)
    if args.ray:
        _predict_on_ray(parser, args)
        return
    save_dir = args.save_dir or args.out
    if args.save_format and save_dir is None:
        parser.error('--save-format needs a folder: --save-dir or --out')
    for option in ('out', 'save_dir', 'save_crops'):
        place = getattr(args, option)
        check_output(f'--{option.replace("_", "-")}', place, folder=True)
    inputs = args.model, args.checkpoint, args.ann_file, *args.images
    check_output('--json', args.json, inputs)
    ids = CocoIds(args.ann_file)
    writers = [save_writer(name, save_dir, ids) for name in args.save_format]
    if args.json:
        writers.append(json_writer(args.json))
    if args.save_crops:
        writers.append(crop_writer(args.save_crops))
    keep_freed_memory()
    predictor = Predictor(threads=args.threads, **_settings(args))
    begin = time.perf_counter()
    with interrupt_on_sigterm():
        count = predict_files(
            predictor,
            args.images,
            args.out,
            writers,
            args.score_thr,
            window=args.show,
        )
    seconds = time.perf_counter() - begin
    ids.tell()
    print(f'{count} pictures in {seconds:.1f} s, {count / seconds:.1f} a second')


def _predict_on_ray(parser: argparse.ArgumentParser, args: argparse.Namespace) -> None:
    alone = ('show', 'json', 'save_format', 'save_dir', 'ann_file', 'save_crops')
    for name in alone:
        if getattr(args, name):
            option = name.replace('_', '-')
            parser.error(f'--{option} is not for --ray, which writes Parquet to --out')
    if args.out is None:
        parser.error('--ray needs a folder for its results: --out')
    begin = time.perf_counter()
    count = predict_on_ray(
        args.images,
        args.out,
        address=args.ray,
        workers=args.threads,
        score_thr=args.score_thr,
        **_settings(args),
    )
    seconds = time.perf_counter() - begin
    print(f'{count} pictures in {seconds:.1f} s, {count / seconds:.1f} a second')


def _settings(args: argparse.Namespace) -> dict[str, Any]:
    """What a predictor is made of, but for its threads."""
    return dict(
        model=args.model,
        checkpoint=args.checkpoint,
        backend=args.backend,
        precision=args.precision,
        calibration=args.calib,
        size=args.size and tuple(args.size),
        batch=args.batch,
        options=args.cfg_options,
    )


if __name__ == '__main__':
    main()
