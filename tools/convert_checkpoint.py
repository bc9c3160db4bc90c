"""Converts checkpoints of other projects into ours, and back.

Example:
    python tools/convert_checkpoint.py mobilenet_v3_large-8738ca79.pth \
        --from torchvision --out large.pth
"""

import argparse
from collections.abc import Sequence

from rich.console import Console

from mmnv3 import arguments
from mmnv3.convert import (
    PROJECTS,
    MisfitError,
    from_ours,
    guess_project,
    read_state,
    to_ours,
)
from mmnv3.convert.differences import check_against, count_classes, describe_settings
from mmnv3.engine.build import build_model
from mmnv3.engine.checkpoints import write_checkpoint
from mmnv3.errors import UserError, one_line_errors
from mmnv3.files import check_output


@one_line_errors()
def main(argv: Sequence[str] | None = None) -> None:
    """Parses the arguments and converts."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument(
        'source', type=arguments.name, help='.pth, .safetensors or .tflite file'
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
        '--out', type=arguments.name, required=True, help='file to write'
    )
    parser.add_argument(
        '--config',
        type=arguments.name,
        help="the network may be this config's own; from other projects, check the "
        'result against it and take its num_classes',
    )
    args = parser.parse_args(argv)
    check_output('--out', args.out, [args.source, args.config])
    console = Console(stderr=True, highlight=False, markup=False)
    given = read_state(args.source)
    model = build_model(args.config) if args.config else None
    spec = getattr(getattr(model, 'backbone', None), 'spec', None)
    try:
        if args.target:
            converted = from_ours(given, args.target, spec)
        else:
            project = args.project or guess_project(args.source, given)
            classes = count_classes(model) if model else None
            converted = to_ours(given, project, classes, spec)
            if model:
                for text in check_against(converted, args.source, model):
                    console.print(f'warning: {text}')
    except MisfitError as error:
        raise UserError(f'{args.source}: {error}') from None
    write_checkpoint(
        args.out,
        converted.state,
        dict(source=args.source, network=str(converted.network)),
        # What the others read is the state dict itself.
        bare=args.target in ('torchvision', 'timm'),
    )
    console.print(f'{converted.network}\nwritten to {args.out}')
    if not model:
        console.print(describe_settings(converted.network.form, args.source))
    if converted.left_out:
        console.print(
            f'{len(converted.left_out)} keys have no counterpart and were left '
            f'out, the first {converted.left_out[0]}'
        )


if __name__ == '__main__':
    main()
