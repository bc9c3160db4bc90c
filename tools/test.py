"""Tests a trained model of a config, or a file that was exported from it.

Example:
    python tools/test.py configs/ssdlite_mnv3_small_demo.py \
        work_dirs/ssdlite_mnv3_small_demo/iter_840.pth --show-dir pictures
    python tools/test.py configs/ssdlite_mnv3_small_demo.py small.onnx
"""

from collections.abc import Sequence

from mmnv3.errors import UserError, end_on_ctrl_c, one_line_errors

end_on_ctrl_c(__name__)

from mmnv3 import arguments
from mmnv3.deploy.exported_model import is_exported, set_exported, set_runtime
from mmnv3.deploy.fastest import AUTO
from mmnv3.deploy.info import PRECISIONS
from mmnv3.engine.launch import (
    WholeResults,
    base_parser,
    build_runner,
    load_config,
    set_drawing,
    set_tta,
)
from mmnv3.engine.screen import Screen
from mmnv3.files import check_output


@one_line_errors()
def main(argv: Sequence[str] | None = None) -> None:
    """Parses the arguments and tests."""
    parser = base_parser('Test a trained model of a config.')
    parser.add_argument(
        'checkpoint',
        type=arguments.name,
        help='file that training wrote, or tools/export.py',
    )
    parser.add_argument(
        '--show-dir',
        type=arguments.name,
        help='draw results into this folder of the run',
    )
    parser.add_argument('--show', action='store_true', help='draw results on screen')
    parser.add_argument(
        '--tta',
        action='store_true',
        help='test-time augmentation: also predict the mirrored picture',
    )
    parser.add_argument(
        '--out', type=arguments.name, help='write the predictions to this .pkl file'
    )
    parser.add_argument(
        '--backend',
        help='let it run the checkpoint: onnxruntime, openvino, litert or executorch, '
        'by an export that is kept, or pytorch or compile, without the toolbox',
    )
    parser.add_argument(
        '--precision',
        choices=[*PRECISIONS, AUTO],
        help='what a backend or an exported file computes in; by default fp32, or what '
        'the file is in',
    )
    parser.add_argument(
        '--calib',
        type=arguments.name,
        metavar='FOLDER',
        help='some 100 to 200 pictures like those to come, for int8 of a checkpoint',
    )
    args = parser.parse_args(argv)
    config = load_config(args)
    check_output('--out', args.out, [args.config, args.checkpoint])
    exported = is_exported(args.checkpoint)
    asked = dict(backend=args.backend, precision=args.precision, calibration=args.calib)
    runs = exported or any(value is not None for value in asked.values())
    if runs and args.tta:
        raise UserError(
            "--tta needs the toolbox's own model, and not a backend's; leave one out"
        )
    if exported:
        if args.backend or args.calib:
            raise UserError(
                f'{args.checkpoint} is exported and takes no --backend and no --calib; '
                'leave them out, or test the checkpoint'
            )
        set_exported(config, args.checkpoint, args.precision)
    elif runs:
        set_runtime(
            config, checkpoint=args.checkpoint, options=args.cfg_options, **asked
        )
    else:
        config.load_from = args.checkpoint
        config.resume = False
    if args.tta:
        set_tta(config)
    if args.show or args.show_dir:
        set_drawing(config, args.show_dir, args.show)
    if args.out and not args.out.endswith(('.pkl', '.pickle')):
        raise UserError(f'--out {args.out}: must end in .pkl')
    screen = Screen(bar=False)
    runner = build_runner(config, trains=False, screen=screen)
    screen.began = True
    if args.out:
        runner.test_evaluator.metrics.append(WholeResults(args.out))
    runner.test()


if __name__ == '__main__':
    main()
