"""Files of 8 and of 16 bits out of float ones.

A module for every format of :mod:`mmnv3.deploy.export` that has such files, each with a
``quantize`` for 8 bits, by calibration, and a ``halve`` for 16. Of 16 bits are the
kernels alone: what is computed with pixels, as anchors, needs more. Of 8, kernels get
a scale for every channel, activations one for every tensor, from what they were on
pictures. What comes before the first convolution and after the last (resizing,
decoding, suppression) stays float: it costs little, and 8 bits are too few for
coordinates.

Which layers are worth it differs by runtime, and stands in its module.
"""

from __future__ import annotations

import contextlib
import io
import logging
from collections.abc import Callable, Iterator, Sequence
from importlib import import_module
from pathlib import Path

import numpy as np

from mmnv3.deploy.calibration import no_pictures
from mmnv3.errors import UserError


def quantize(
    format_name: str, source: Path, out: Path, batches: Sequence[np.ndarray]
) -> None:
    """Writes an 8-bit file.

    Args:
        format_name: ``'onnx'``, ``'openvino'`` or ``'litert'``.
        source: A float file of :mod:`mmnv3.deploy.export`.
        out: File to write, with the description of ``source``. OpenVINO's weights go
            beside it, as ``.bin``.
        batches: What goes into the file, of pictures to calibrate on.

    Raises:
        UserError: When there are no batches, or when a package is missing.
    """
    if not len(batches):
        raise no_pictures()
    import_module(f'{__name__}.{format_name}').quantize(source, out, batches)


def halve(format_name: str, source: Path, out: Path) -> None:
    """Writes a file whose kernels have 16 bits, which is half as large.

    Args:
        format_name: ``'onnx'``, ``'openvino'`` or ``'litert'``.
        source: A float file of :mod:`mmnv3.deploy.export`.
        out: File to write, with the description of ``source``. OpenVINO's weights go
            beside it, as ``.bin``.

    Raises:
        UserError: When a weight is larger than 16 bits can hold, or when a package is
            missing.
    """
    import_module(f'{__name__}.{format_name}').halve(source, out)


def reduce_precision(
    format_name: str,
    precision: str,
    source: Path,
    out: Path,
    calibration: Callable[[], Sequence[np.ndarray]],
) -> None:
    """Writes a file of fewer bits: :func:`quantize` or :func:`halve`, by the precision.

    Args:
        format_name: As theirs.
        precision: ``'int8'``, ``'fp16'`` or ``'bf16'``.
        source: As theirs.
        out: As theirs.
        calibration: Gives the batches, if they are needed.
    """
    if precision == 'int8':
        quantize(format_name, source, out, calibration())
    else:
        halve(format_name, source, out)


def check_halves(weights: np.ndarray, source: Path) -> None:
    """Checks that 16 bits can hold weights.

    Raises:
        UserError: When not.
    """
    most = float(np.abs(weights).max(initial=0))
    if most > float(np.finfo(np.float16).max):
        raise UserError(
            f'{source.name}: a weight of {most:g} is more than 16 bits can hold; '
            'export it in fp32 or int8'
        )


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Keeps to itself what libraries print and log, up to warnings.

    They show progress bars of seconds, and give advice to those who program them.
    """
    before = logging.root.manager.disable
    logging.disable(max(before, logging.WARNING))
    try:
        with (
            contextlib.redirect_stdout(io.StringIO()),
            contextlib.redirect_stderr(io.StringIO()),
        ):
            yield
    finally:
        logging.disable(before)
