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
from mmnv3.deploy.exported_model import is_exported, set_exported
from mmnv3.engine.launch import (
    WholeResults,
    base_parser,
    build_runner,
    load_config,
    set_drawing,
    set_tta,
)
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
    args = parser.parse_args(argv)
    config = load_config(args)
    check_output('--out', args.out, [args.config, args.checkpoint])
    if is_exported(args.checkpoint):
        if args.tta:
            raise UserError(
                f"--tta needs the toolbox's own model, and {args.checkpoint} is "
                'exported; leave it out, or test the checkpoint'
            )
        set_exported(config, args.checkpoint)
    else:
        config.load_from = args.checkpoint
        config.resume = False
    if args.tta:
        set_tta(config)
    if args.show or args.show_dir:
        set_drawing(config, args.show_dir, args.show)
    if args.out and not args.out.endswith(('.pkl', '.pickle')):
        raise UserError(f'--out {args.out}: must end in .pkl')
    runner = build_runner(config, trains=False)
    if args.out:
        runner.test_evaluator.metrics.append(WholeResults(args.out))
    runner.test()


if __name__ == '__main__':
    main()
