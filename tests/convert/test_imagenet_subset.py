"""Google's published files on real pictures, by the tools, as a user would."""

import json
from pathlib import Path

import pytest

from tests.tools import fork_tool

ROOT = Path(__file__).parents[2]
DATA = next(
    (p for p in (ROOT / 'data', ROOT / '../shared/data') if (p / 'imagenet').is_dir()),
    ROOT / 'data',
)
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(
        not (DATA / 'imagenet').is_dir() or not (DATA / 'weights').is_dir(),
        reason=f'no imagenet or no weights in {DATA}',
    ),
]


def run(tool: str, *args: object) -> None:
    done = fork_tool(tool, *args, timeout_s=1800)
    assert done.returncode == 0, done.stderr


# LiteRT's own figures on these pictures are 73.4 and 80.7 %: it clips activations to
# the ranges of its 8 bits, which a float copy does not know.
@pytest.mark.parametrize(
    ('name', 'config', 'least'),
    [
        ('v3-small_224_1.0_uint8', 'mnv3_small_imagenet', 69.5),
        (
            'v3-large-minimalistic_224_1.0_uint8',
            'mnv3_large_minimalistic_imagenet',
            77.0,
        ),
    ],
)
def test_converted_accuracy(
    name: str, config: str, least: float, tmp_path: Path
) -> None:
    config = ROOT / 'configs' / f'{config}.py'
    run(
        'convert_checkpoint.py', DATA / f'weights/{name}.tflite', '--from', 'tflite',
        '--config', config, '--out', tmp_path / 'ours.pth',
    )  # fmt: skip
    run(
        'test.py', config, tmp_path / 'ours.pth', '--work-dir', tmp_path / 'work',
        '--cfg-options', f'test_dataloader.dataset.data_root={DATA}/imagenet',
    )  # fmt: skip
    (results,) = (tmp_path / 'work').glob('*/*.json')
    top1 = json.loads(results.read_text())['accuracy/top1']
    assert top1 >= least
