"""Converts checkpoints of other projects into ours, and back.

Example:
    python tools/convert_checkpoint.py mobilenet_v3_large-8738ca79.pth \
        --from torchvision --out large.pth
    python tools/convert_checkpoint.py ssd_mobilenet_v3_large_coco_2020_01_14.tar.gz \
        --from tensorflow --out large_coco.pth --config-out large_coco.py
"""

import argparse
from collections.abc import Sequence

from mmnv3.errors import UserError, end_on_ctrl_c, one_line_errors

end_on_ctrl_c(__name__)

from rich.console import Console

from mmnv3 import arguments
from mmnv3.convert import (
    PROJECTS,
    MisfitError,
    from_ours,
    guess_project,
    read_state,
    to_ours,
    write_variables,
)
from mmnv3.convert.differences import check_against, count_classes, describe_settings
from mmnv3.convert.fitting_config import write_fitting_config
from mmnv3.convert.frozen_graph import read_pipeline
from mmnv3.convert.pipeline_config import parse_pipeline
from mmnv3.engine.build import build_model
from mmnv3.engine.checkpoints import write_checkpoint
from mmnv3.engine.zoo import local_file
from mmnv3.files import check_output, whole_or_absent


@one_line_errors()
def main(argv: Sequence[str] | None = None) -> None:
    """Parses the arguments and converts."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument(
        'source',
        type=arguments.name,
        help='.pth, .safetensors or .tflite file; of TensorFlow .pb, .tar.gz or .npz; '
        'or an address, as zoo://v3-small_224_1.0_float',
    )
    direction = parser.add_mutually_exclusive_group()
    direction.add_argument(
        '--from',
        dest='project',
        choices=PROJECTS,
        help='whose the file is; by default its keys tell',
    )
    direction.add_argument(
        '--to',
        dest='target',
        choices=[project for project in PROJECTS if project != 'tflite'],
        help='the file is ours, and this project shall read it',
    )
    parser.add_argument(
        '--out',
        type=arguments.name,
        required=True,
        help='file to write, with --to tensorflow an .npz of its variables',
    )
    parser.add_argument(
        '--config',
        type=arguments.config,
        help="the network may be this config's own; from other projects, check the "
        'result against it and take its num_classes',
    )
    parser.add_argument(
        '--classes',
        type=arguments.whole_number(1, 100_000),
        help='keep these: 80 of the 90 ids of COCO, 1000 without the background of '
        'ImageNet; by default those of the file, or of --config',
    )
    parser.add_argument(
        '--config-out',
        type=arguments.name,
        help='also write a config (.py) that fits, for a file of tensorflow; it heeds '
        'the pipeline.config beside the graph or in its archive',
    )
    args = parser.parse_args(argv)
    if args.config and (args.classes or args.config_out):
        parser.error('--config tells the classes; --classes and --config-out do not go')
    if args.target and (args.classes or args.config_out):
        parser.error('--classes and --config-out go with --from')
    if args.config_out and not args.config_out.endswith('.py'):
        parser.error(f'--config-out {args.config_out}: configs end in .py')
    if args.target == 'tensorflow' and not args.out.endswith('.npz'):
        parser.error(
            f'--out {args.out}: the variables of tensorflow go to an .npz file'
        )
    check_output('--out', args.out, [args.source, args.config])
    check_output('--config-out', args.config_out, [args.source, args.out])
    console = Console(stderr=True, highlight=False, markup=False)
    given = read_state(args.source)
    model = build_model(args.config) if args.config else None
    spec = getattr(getattr(model, 'backbone', None), 'spec', None)
    try:
        if args.target:
            converted = from_ours(given, args.target, spec)
        else:
            project = args.project or guess_project(args.source, given)
            classes = count_classes(model) if model else args.classes
            converted = to_ours(given, project, classes, spec)
            if model:
                for text in check_against(converted, args.source, model):
                    console.print(f'warning: {text}')
    except MisfitError as error:
        raise UserError(f'{args.source}: {error}') from None
    if args.config_out:
        found = None
        if project == 'tensorflow':
            found = read_pipeline(local_file(args.source))
        pipeline = parse_pipeline(found[1], found[0]) if found else None
        config = write_fitting_config(converted, args.source, pipeline)
    if args.target == 'tensorflow':
        write_variables(args.out, converted.state)
        console.print(f'{converted.network}\nwritten to {args.out}')
        return
    write_checkpoint(
        args.out,
        converted.state,
        dict(source=args.source, network=str(converted.network)),
        # What the others read is the state dict itself.
        bare=args.target in ('torchvision', 'timm'),
    )
    console.print(f'{converted.network}\nwritten to {args.out}')
    if args.config_out:
        with whole_or_absent(args.config_out) as partial:
            partial.write_text(config, encoding='utf-8')
        console.print(f'a config that fits is written to {args.config_out}')
    elif not model:
        form = converted.network.form
        hint = '; --config-out writes a config' if form.project == 'tensorflow' else ''
        console.print(f'{describe_settings(form, args.source)}{hint}')
    if converted.left_out:
        console.print(
            f'{len(converted.left_out)} keys have no counterpart and were left '
            f'out, the first {converted.left_out[0]}'
        )


if __name__ == '__main__':
    main()
