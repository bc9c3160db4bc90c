"""What is asked for, and a model that is ready to be timed, stage by stage."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from mmnv3.benchmark.clock import Stages, Stopwatch
from mmnv3.benchmark.counts import count_madds, count_params, tensor_bytes
from mmnv3.deploy.runtime import BACKENDS
from mmnv3.errors import UserError, first_line
from mmnv3.pictures import read_picture
from mmnv3.size import Size

# The stages in their order. Where a model's own code cannot be divided honestly, the
# last two are one.
PRE, NETWORK, POST = 'pre', 'network', 'post'
NETWORK_AND_POST = 'network+post'
STAGES = (PRE, NETWORK, POST, NETWORK_AND_POST)

TORCHVISION = 'torchvision:'
DEVICES = ('cpu', 'cuda')
# The picture that is noise.
NOISE_SIZE = Size(640, 480)


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
            number = getattr(self, name)
            if number is not None and number < 1:
                raise UserError(f'--{name} {number} must be a positive number')
        if self.size and min(self.size) < 1:
            width, height = self.size
            raise UserError(f'--size {width} {height} must be two positive numbers')

    @property
    def title(self) -> str:
        """The model's name, without the folders and ending of a config."""
        return self.model.rpartition('/')[-1].removesuffix('.py')

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

    def check_device(self, backend: str = 'pytorch') -> None:
        """Checks that a backend runs on the device, and that there is one.

        Raises:
            UserError: When not.
        """
        if self.device == 'cpu':
            return
        if BACKENDS[backend] is not None:
            raise UserError(
                f'backend {backend!r} runs on the CPU here; --device {self.device} '
                'takes pytorch and compile'
            )
        if not torch.cuda.is_available():
            raise UserError(f'--device {self.device}: PyTorch finds none; leave it out')


@dataclass(frozen=True)
class TimedModel:
    """A model that is ready to be timed.

    Attributes:
        request: What was asked for.
        backend: What runs it.
        precision: One of :data:`mmnv3.deploy.info.PRECISIONS`.
        size: Pixels of the input.
        stages: Its parts.
        pictures: What the first stage takes.
        load_seconds: Loading the file, or setting up the graph, and compiling, until
            the first pictures were through.
        file_bytes: Of the exported files; of the parameters and buffers where there
            are none.
        params: Numbers that training learns.
        madds: Multiply-adds of one picture; None where they cannot be counted.
        path: The exported file, if it is one that runs.
    """

    request: Request
    backend: str
    precision: str
    size: Size
    stages: Stages
    pictures: Sequence[np.ndarray]
    load_seconds: float
    file_bytes: int
    params: int
    madds: int | None
    path: Path | None = None

    @property
    def method(self) -> str:
        """Backend and precision."""
        return self.backend + ('' if self.precision == 'fp32' else f' {self.precision}')

    @property
    def name(self) -> str:
        """One line for tables and plots."""
        return f'{self.request.title} {self.method}'

    @property
    def child(self) -> dict[str, Any]:
        """What :mod:`mmnv3.benchmark.machine` runs in a process of its own."""
        path = self.path and str(self.path)
        return dict(request=asdict(self.request), backend=self.backend, path=path)


def run_stages(stages: Stages, pictures: Sequence[np.ndarray]) -> Any:
    """Takes pictures through all stages.

    Returns:
        What the last one returns.
    """
    state: Any = pictures
    for step in stages.values():
        state = step(state)
    return state


@torch.no_grad()
def start_model(
    request: Request,
    load: Callable[[], Stages],
    size: Size,
    network: nn.Module,
    module: nn.Module,
    *,
    backend: str = 'pytorch',
    precision: str = 'fp32',
    files: Sequence[Path] = (),
    explain: Callable[[Exception], UserError] | None = None,
) -> TimedModel:
    """Loads a model and takes the first pictures through it.

    Args:
        request: What was asked for.
        load: Loads it.
        size: Pixels of the input.
        network: What is counted: from normalised pictures to maps.
        module: What is run, or was exported.
        backend: What runs it.
        precision: One of :data:`mmnv3.deploy.info.PRECISIONS`.
        files: The exported files, first the one that is loaded; none for a module.
        explain: Tells what somebody can do about an exception.
    """
    pictures = request.pictures()
    stopwatch = Stopwatch()
    try:
        stages = load()
        run_stages(stages, pictures)
    except UserError:
        raise
    except Exception as error:
        if explain is None:
            raise
        raise explain(error) from None
    load_seconds = stopwatch.seconds
    in_files = sum(file.stat().st_size for file in files)
    return TimedModel(
        request=request,
        backend=backend,
        precision=precision,
        size=size,
        stages=stages,
        pictures=pictures,
        load_seconds=load_seconds,
        file_bytes=in_files or tensor_bytes(module),
        params=count_params(network),
        madds=count_madds(network, size),
        path=files[0] if files else None,
    )


def compiler_error(error: Exception) -> UserError:
    """Tells what to do about what `torch.compile` raises without a compiler."""
    return UserError(
        f'torch.compile failed ({first_line(error)}); it needs a C++ compiler, as of '
        'apt-get install g++, or leave this backend out'
    )
