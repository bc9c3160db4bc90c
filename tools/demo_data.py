"""Draw the demo set: COCO boxes and Cityscapes masks of textured shapes.

Example:
    python tools/demo_data.py --out work_dirs/demo_data
"""

from __future__ import annotations

import argparse
from dataclasses import fields
from pathlib import Path

from mmnv3.datasets.demo import DemoSpec, write_demo_data
from mmnv3.errors import UserError, one_line_errors

HELP = {
    'train': 'training pictures',
    'val': 'validation pictures',
    'seed': 'another seed draws other pictures',
    'size': 'side of the square pictures in pixels',
}


def main() -> None:
    """Parse the arguments and write the set."""
    parser = argparse.ArgumentParser(
        description=__doc__.splitlines()[0],
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
    )
    parser.add_argument(
        '--out', type=Path, default=Path('work_dirs/demo_data'), help='folder to make'
    )
    for field in fields(DemoSpec):
        parser.add_argument(
            f'--{field.name}', type=int, default=field.default, help=HELP[field.name]
        )
    args = vars(parser.parse_args())
    out = args.pop('out')
    with one_line_errors():
        spec = DemoSpec(**args)
        try:
            written = write_demo_data(out, spec, progress=True)
        except OSError as error:
            raise UserError(f'{out} cannot be written: {error.strerror}') from error
    counts = f'{spec.train} training and {spec.val} validation pictures'
    print(f'{out}: {counts} {"written" if written else "already there"}')


if __name__ == '__main__':
    main()
