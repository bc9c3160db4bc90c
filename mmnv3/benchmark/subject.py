"""What is measured: a model, run by one backend, in stages."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from mmnv3.errors import UserError
from mmnv3.pictures import read_picture

# The stages in their order. Where a model's own code cannot be divided honestly, the
# last two are one.
PRE, NETWORK, POST = 'pre', 'network', 'post'
NETWORK_AND_POST = 'network+post'
STAGES = (PRE, NETWORK, POST, NETWORK_AND_POST)

# Each stage takes what the one before it returned, the first the pictures.
Stages = Mapping[str, Callable[[Any], Any]]

TORCHVISION = 'torchvision:'
DEVICES = ('cpu', 'cuda')
# The picture that is noise, (width, height).
NOISE_SIZE = 640, 480


@dataclass(frozen=True)
class Request:
    """What is asked for of one model.

    Attributes:
        model: The path of a config, or ``'torchvision:'`` and a name.
        options: Settings of the config to override.
        checkpoint: Weights; random ones for None.
        size: Input, (width, height); the model's own for None.
        batch: Pictures of one call; None for one, in training for the config's.
        threads: Threads of one call.
        device: ``'cpu'`` or ``'cuda'``.
        image: A picture; noise for None.
        calibration: Folder of pictures that 8-bit files are calibrated on; noise for
            None.
    """

    model: str
    options: Mapping | None = None
    checkpoint: str | None = None
    size: tuple[int, int] | None = None
    batch: int | None = None
    threads: int = 1
    device: str = 'cpu'
    image: str | None = None
    calibration: str | None = None

    def __post_init__(self) -> None:
        for name in ('batch', 'threads'):
            if getattr(self, name) is not None and getattr(self, name) < 1:
                raise UserError(
                    f'--{name} {getattr(self, name)} must be a positive number'
                )
        if self.size and min(self.size) < 1:
            width, height = self.size
            raise UserError(f'--size {width} {height} must be two positive numbers')

    def pictures(self) -> list[np.ndarray]:
        """The pictures of one call, (H, W, 3) uint8 BGR each.

        Raises:
            UserError: When ``image`` cannot be read.
        """
        if self.image:
            picture = read_picture(self.image)
        else:
            width, height = NOISE_SIZE
            random = np.random.default_rng(0)
            picture = random.integers(0, 256, (height, width, 3), np.uint8)
        return [picture] * (self.batch or 1)


@dataclass(frozen=True)
class Subject:
    """A model that is ready to be timed.

    Attributes:
        model: As it was named.
        backend: What runs it.
        precision: ``'fp32'`` or ``'int8'``.
        size: Input, (width, height).
        stages: Its parts.
        pictures: What the first stage takes.
        load_seconds: Loading the file, or setting up the graph, and compiling, until
            the first pictures were through.
        file_bytes: Of the exported files; of the parameters and buffers where there
            are none.
        params: Numbers that training learns.
        madds: Multiply-adds of one picture; None where they cannot be counted.
        child: What :mod:`mmnv3.benchmark.peak_memory` gets, to run it in a process.
    """

    model: str
    backend: str
    precision: str
    size: tuple[int, int]
    stages: Stages
    pictures: Sequence[np.ndarray]
    load_seconds: float
    file_bytes: int
    params: int
    madds: int | None
    child: Mapping[str, Any]

    @property
    def title(self) -> str:
        """The model's name, without the folders and ending of a config."""
        return self.model.rpartition('/')[-1].removesuffix('.py')

    @property
    def method(self) -> str:
        """Backend and precision."""
        return self.backend + ('' if self.precision == 'fp32' else f' {self.precision}')

    @property
    def name(self) -> str:
        """One line for tables and plots."""
        return f'{self.title} {self.method}'


def run_stages(stages: Stages, pictures: Sequence[np.ndarray]) -> Any:
    """Takes pictures through all stages.

    Returns:
        What the last one returns.
    """
    state: Any = pictures
    for step in stages.values():
        state = step(state)
    return state
