"""The one way from a picture to a result: prepare, run, finish."""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Sequence
from dataclasses import replace
from functools import lru_cache
from itertools import groupby

import cv2
import numpy as np

from mmnv3.deploy import results
from mmnv3.deploy.info import ModelInfo
from mmnv3.deploy.results import Result
from mmnv3.deploy.runtime import Runtime
from mmnv3.errors import Remark, UserError
from mmnv3.resizing import Pad, Resize, output_size, picture_size
from mmnv3.size import Size


class Pipeline:
    """From pictures to results, for one thread at a time.

    Args:
        runtime: The loaded model.
        keeps_size: Whether every picture goes in at the size that the config's steps
            give it, or at its own without them; the runtime must take any.
        size_is_chance: Whether the model's size is that of some picture, so that
            stretching others to it deserves a remark.
    """

    def __init__(
        self, runtime: Runtime, keeps_size: bool = False, size_is_chance: bool = False
    ) -> None:
        self.runtime = runtime
        self.keeps_size = keeps_size
        self.size_is_chance = size_is_chance
        # Fresh memory for every picture takes as long as filling it.
        self._input = np.empty(0)
        self._planes: list[np.ndarray] = []

    @property
    def info(self) -> ModelInfo:
        """What the model takes and gives."""
        return self.runtime.info

    def __call__(self, pictures: Sequence[np.ndarray]) -> list[Result]:
        """The results of pictures, (H, W, 3) uint8 BGR, in their order."""
        found = []
        for chunk in self._chunks(pictures):
            batch = self.prepare(*chunk, out=self._buffer(chunk[0]))
            found += self.finish(self.run(batch), list(map(picture_size, chunk)))
        return found

    def prepare(
        self, *pictures: np.ndarray, out: np.ndarray | None = None
    ) -> np.ndarray:
        """Resizes and normalises.

        Args:
            *pictures: At least one, at most as many as the model takes, (H, W, 3)
                uint8 BGR; of one size where the runtime takes any.
            out: Where to write, as it is returned; fresh memory for None.

        Returns:
            What the model takes: float32 of its input shape, or pixels in RGB. Places
            of the batch that have no picture hold whatever they held. Where the model
            takes pictures as they are, the picture in RGB.
        """
        if self.info.takes_pictures:
            return file_input(pictures[0], self.info)
        info = self._info_for(picture_size(pictures[0]))
        batch = info.empty_batch() if out is None else out
        for picture, place in zip(pictures, batch):
            prepare_picture(picture, info, place, self._planes)
        return batch

    def run(self, batch: np.ndarray) -> dict[str, np.ndarray]:
        """The outputs of the bare network; see :class:`Runtime`."""
        return self.runtime(batch)

    def finish(
        self, outputs: dict[str, np.ndarray], sizes: Sequence[tuple[int, int]]
    ) -> list[Result]:
        """Turns outputs into results.

        Args:
            outputs: What :meth:`run` returns.
            sizes: Of the pictures that were prepared, (width, height).
        """
        info = self._info_for(Size(*sizes[0]))
        if self.size_is_chance and any(info.is_stretched(size) for size in sizes):
            warnings.warn(
                f'the model is exported for {info.size}, the size of the first '
                'picture, and others are stretched to it; name another with size',
                Remark,
                stacklevel=2,
            )
        return results.finish(outputs, info, sizes)

    def _chunks(self, pictures: Sequence[np.ndarray]) -> Iterator[list[np.ndarray]]:
        """Divides pictures into what goes in at once."""
        for _, group in groupby(
            pictures, lambda picture: self._info_for(picture_size(picture)).size
        ):
            same = list(group)
            for start in range(0, len(same), self.info.batch):
                yield same[start : start + self.info.batch]

    def _info_for(self, picture: Size) -> ModelInfo:
        """What the model takes of pictures of a size."""
        if not self.keeps_size:
            return self.info
        width, height = output_size(self.info.steps, picture)
        return replace(self.info, input_shape=(self.info.batch, 3, height, width))

    def _buffer(self, picture: np.ndarray) -> np.ndarray | None:
        if self.info.takes_pictures:
            return None
        info = self._info_for(picture_size(picture))
        if self._input.shape != info.batch_shape:
            self._input = info.empty_batch()
        return self._input


def file_input(picture: np.ndarray, info: ModelInfo) -> np.ndarray:
    """What goes into an exported file that takes one picture a call.

    Args:
        picture: (H, W, 3) uint8, BGR.
        info: The file's description.

    Returns:
        The picture in RGB, or with a leading axis what :func:`prepare_picture` makes
        of it.
    """
    if info.takes_pictures:
        return cv2.cvtColor(picture, cv2.COLOR_BGR2RGB)
    return prepare_picture(picture, info)[None]


def prepare_picture(
    picture: np.ndarray,
    info: ModelInfo,
    out: np.ndarray | None = None,
    planes: list[np.ndarray] | None = None,
) -> np.ndarray:
    """Resizes and normalises a picture as the config's test pipeline does.

    Where the model takes pixels it normalises them itself.

    Args:
        picture: (H, W, 3) uint8, BGR.
        info: What the model takes.
        out: Where to write, as it is returned; fresh memory for None, which costs
            about as much again as the arithmetic.
        planes: Where the channels of pictures before this one are, whose memory is used
            again; this one's are there then. An empty list begins so.

    Returns:
        One picture of a batch, of ``info.batch_shape[1:]``: float32, or uint8 RGB.

    Raises:
        UserError: When the steps make it another size than the model takes.
    """
    size = picture_size(picture)
    made = output_size(info.steps, size) if info.steps else info.size
    if made != info.size:
        raise UserError(
            f'a picture of {size} becomes {made} by the test pipeline, and the model '
            f'takes {info.size}; export it with --size {made.width} {made.height}, or '
            'give pictures of another shape'
        )
    padding = 0.0
    for step in info.steps or (Resize(info.size),):
        if isinstance(step, Pad) and step.normalized:
            padding = step.value[0]
        else:
            picture = step(picture)
    if info.takes_pixels:
        return cv2.cvtColor(picture, cv2.COLOR_BGR2RGB, out)
    planes = [] if planes is None else planes
    # Those of another size or type are made anew.
    planes[:] = cv2.split(picture, planes or None)
    ordered = planes[::-1] if info.channel_order == 'rgb' else planes
    if out is None:
        out = np.empty(info.input_shape[1:], np.float32)
    height, width = picture.shape[:2]
    padded = (width, height) != info.size
    # Plane by plane, since arithmetic over interleaved pixels that are transposed
    # afterwards takes 20 times as long; and a pixel has few values.
    tables = _tables(info.mean, info.std)
    for channel, (plane, place) in enumerate(zip(ordered, out)):
        if padded:
            place[:] = padding
            place = place[:height, :width]
        if plane.dtype != np.uint8:
            np.subtract(plane, np.float32(info.mean[channel]), out=place)
            place /= np.float32(info.std[channel])
        elif padded:
            place[:] = cv2.LUT(plane, tables[channel])
        else:
            cv2.LUT(plane, tables[channel], dst=place)
    return out


@lru_cache(maxsize=8)
def _tables(mean: tuple[float, ...], std: tuple[float, ...]) -> np.ndarray:
    """What the pixels from 0 to 255 become in every channel, (C, 256) float32."""
    values = np.arange(256, dtype=np.float32)
    means, stds = (np.array(values, np.float32)[:, None] for values in (mean, std))
    return (values - means) / stds
