"""Writes a config that trains on your own data.

Example:
    python tools/init_config.py path/to/my_data --task detection --out my_config.py
    python tools/train.py my_config.py
"""

import argparse
import os
from collections.abc import Sequence

# As in training, whose iterations are measured here.
os.environ.setdefault('OMP_WAIT_POLICY', 'PASSIVE')

from mmnv3.errors import end_on_ctrl_c, one_line_errors

end_on_ctrl_c(__name__)

from mmnv3 import arguments
from mmnv3.own_data.init_config import Wish, init_config
from mmnv3.tasks import CLASSIFICATION, DETECTION, SEGMENTATION


@one_line_errors()
def main(argv: Sequence[str] | None = None) -> None:
    """Parses the arguments, and writes the config."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument(
        'data', type=arguments.path, metavar='DATA', help='folder of the data'
    )
    parser.add_argument(
        '--task', choices=[DETECTION, SEGMENTATION, CLASSIFICATION], required=True
    )
    parser.add_argument(
        '--out',
        type=arguments.path,
        metavar='FILE.py',
        required=True,
        help='config to write; a page of pictures goes beside it',
    )
    parser.add_argument(
        '--network',
        choices=['small', 'large'],
        default='small',
        help='MobileNetV3-Small, the default, or -Large',
    )
    parser.add_argument(
        '--minutes',
        type=arguments.positive,
        default=30,
        help='that training may take on this machine; 30',
    )
    parser.add_argument(
        '--pretrained',
        type=arguments.name,
        default='auto',
        metavar='FILE',
        help='weights of the backbone, a file or an address as '
        "torchvision://mobilenet_v3_small; by default torchvision's where they can be "
        'had; "none" for random ones',
    )
    parser.add_argument(
        '--seed',
        type=arguments.seed,
        default=0,
        help='of the validation set, where the data has none; 0',
    )
    parser.add_argument(
        '--force',
        action='store_true',
        help='overwrite the config, and what was written beside the data',
    )
    wish = Wish(**vars(parser.parse_args(argv)))
    print(*init_config(wish), sep='\n')


if __name__ == '__main__':
    main()
