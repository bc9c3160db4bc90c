"""Draw the demo set: COCO boxes and Cityscapes masks of textured shapes.

Example:
    python tools/demo_data.py --out work_dirs/demo_data
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import fields
from pathlib import Path

from mmnv3.errors import end_on_ctrl_c, one_line_errors

end_on_ctrl_c(__name__)

from mmnv3 import arguments
from mmnv3.datasets.demo import DemoSpec, write_demo_data

HELP = {
    'train': 'training pictures',
    'val': 'validation pictures',
    'seed': 'another seed draws other pictures',
    'size': 'side of the square pictures in pixels',
}


@one_line_errors()
def main(argv: Sequence[str] | None = None) -> None:
    """Parse the arguments and write the set."""
    parser = argparse.ArgumentParser(
        description=__doc__.splitlines()[0],
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
    )
    parser.add_argument(
        '--out',
        type=arguments.path,
        default=Path('work_dirs/demo_data'),
        help='folder to make',
    )
    for field in fields(DemoSpec):
        parser.add_argument(
            f'--{field.name}', type=int, default=field.default, help=HELP[field.name]
        )
    args = vars(parser.parse_args(argv))
    out = args.pop('out')
    spec = DemoSpec(**args)
    written = write_demo_data(out, spec, progress=True)
    counts = f'{spec.train} training and {spec.val} validation pictures'
    print(f'{out}: {counts} {"written" if written else "already there"}')


if __name__ == '__main__':
    main()
