"""How long an exported file takes to prepare a picture, beside OpenCV outside of it.

The file resizes and normalises as `--with-preprocess` writes it, without a network.
Outside is what runs before a file without it. Both take turns, on one thread.

Example:
    python -m studies.resizing
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import cast

import cv2
import numpy as np
from torch import Tensor, nn

from mmnv3 import arguments
from mmnv3.benchmark.clock import fast_us, time_turns
from mmnv3.benchmark.machine import describe_machine, machine_line
from mmnv3.deploy.export import write_file
from mmnv3.deploy.graph import ExportGraph
from mmnv3.deploy.info import ModelInfo
from mmnv3.deploy.picture_graph import PictureGraph
from mmnv3.deploy.pipeline import Pipeline, prepare_picture
from mmnv3.deploy.runtime import load_runtime
from mmnv3.errors import one_line_errors
from mmnv3.resizing import Resize
from mmnv3.size import Size
from mmnv3.tasks import CLASSIFICATION
from studies.page import markdown_table

_SIZE = Size(320, 320)
_PICTURES = (Size(640, 480), Size(4000, 3000))


class _NoNetwork(nn.Module):
    """The average of every channel, in the place of a classifier."""

    task = CLASSIFICATION
    num_classes = 3

    def forward(self, image: Tensor) -> Tensor:
        return image.mean((2, 3))


def time_resizing(
    pictures: Sequence[Size], runs: int, folder: Path
) -> list[tuple[float, float]]:
    """Times both ways.

    Args:
        pictures: Sizes of the pictures, of noise.
        runs: Measured calls of each.
        folder: Where the file is written.

    Returns:
        Milliseconds outside and inside, for each picture.
    """
    info = ModelInfo(
        task=CLASSIFICATION,
        classes=('red', 'green', 'blue'),
        input_shape=(1, 3, *_SIZE[::-1]),
        mean=(123.675, 116.28, 103.53),
        std=(58.395, 57.12, 57.375),
        channel_order='rgb',
        steps=(Resize(_SIZE),),
        postprocessed=True,
        takes_pictures=True,
    )
    path = folder / 'resize.onnx'
    write_file(PictureGraph(cast(ExportGraph, _NoNetwork()), info), info, path, 'onnx')
    inside = Pipeline(load_runtime(path, threads=1))
    random, threads, found = np.random.default_rng(0), cv2.getNumThreads(), []
    cv2.setNumThreads(1)
    for width, height in pictures:
        picture = random.integers(0, 256, (height, width, 3), np.uint8)
        planes: list[np.ndarray] = []
        out = np.empty(info.input_shape[1:], np.float32)
        calls: list[Callable[[], object]] = [
            partial(prepare_picture, picture, info, out, planes),
            partial(inside.run, inside.prepare(picture)),
        ]
        outside_us, inside_us = fast_us(time_turns(calls, runs=runs))
        found.append((outside_us / 1e3, inside_us / 1e3))
    cv2.setNumThreads(threads)
    return found


@one_line_errors()
def main(argv: Sequence[str] | None = None) -> None:
    """Parses the arguments and prints a table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument(
        '--runs', type=arguments.count, default=200, help='calls of each; 200'
    )
    args = parser.parse_args(argv)
    with TemporaryDirectory() as folder:
        times = time_resizing(_PICTURES, args.runs, Path(folder))
    print(machine_line(describe_machine(threads=1)))
    rows = [
        [str(size), f'{outside:.2f}', f'{inside:.2f}', f'{inside / outside:.1f}']
        for size, (outside, inside) in zip(_PICTURES, times)
    ]
    print(markdown_table(['picture', 'OpenCV, ms', 'the file, ms', 'ratio'], rows))


if __name__ == '__main__':
    main()
