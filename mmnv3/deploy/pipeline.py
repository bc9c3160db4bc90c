"""A runtime with what comes before and after it."""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Sequence
from dataclasses import replace
from itertools import groupby

import numpy as np

from mmnv3.deploy import preparing, results
from mmnv3.deploy.info import SEGMENTATION, ModelInfo
from mmnv3.deploy.results import Result
from mmnv3.deploy.runtime import Runtime
from mmnv3.errors import Remark


class Pipeline:
    """From pictures to results, for one thread at a time.

    Args:
        runtime: The loaded model.
        keeps_size: Whether every picture goes in at its own size, which the runtime
            must take.
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
        self._input = np.empty(0, np.float32)

    @property
    def info(self) -> ModelInfo:
        """What the model takes and gives."""
        return self.runtime.info

    def __call__(self, pictures: Sequence[np.ndarray]) -> list[Result]:
        """The results of pictures, (H, W, 3) uint8 BGR, in their order."""
        found = []
        for chunk in self._chunks(pictures):
            batch = self.prepare(*chunk, out=self._buffer(chunk[0]))
            found += self.finish(self.run(batch), [_size(p) for p in chunk])
        return found

    def prepare(
        self, *pictures: np.ndarray, out: np.ndarray | None = None
    ) -> np.ndarray:
        """Resizes and normalises.

        Args:
            *pictures: At least one, at most as many as the model takes, (H, W, 3)
                uint8 BGR; of one size where every picture keeps its own.
            out: Where to write, as it is returned; fresh memory for None.

        Returns:
            Float32 of the model's input shape. Places of the batch that have no
            picture hold whatever they held.
        """
        info = self._info_for(pictures[0])
        batch = np.zeros(info.input_shape, np.float32) if out is None else out
        for picture, place in zip(pictures, batch):
            preparing.prepare(picture, info, place)
        return batch

    def run(self, batch: np.ndarray) -> dict[str, np.ndarray]:
        """The outputs of the bare network; see :class:`Runtime`."""
        return self.runtime(batch)

    def finish(
        self, outputs: dict[str, np.ndarray], sizes: list[tuple[int, int]]
    ) -> list[Result]:
        """Turns outputs into results.

        Args:
            outputs: What :meth:`run` returns.
            sizes: Of the pictures, (width, height).
        """
        stretched = not self.keeps_size and any(s != self.info.size for s in sizes)
        if stretched and self.size_is_chance and self.info.task == SEGMENTATION:
            width, height = self.info.size
            warnings.warn(
                f'the model is exported for {width}x{height}, the size of the first '
                'picture, and others are stretched to it; name another with size',
                Remark,
                stacklevel=2,
            )
        return results.finish(outputs, self.info, sizes)

    def _chunks(self, pictures: Sequence[np.ndarray]) -> Iterator[list[np.ndarray]]:
        """Divides pictures into what goes in at once."""
        key = _size if self.keeps_size else lambda picture: None
        for _, group in groupby(pictures, key):
            same = list(group)
            for start in range(0, len(same), self.info.batch):
                yield same[start : start + self.info.batch]

    def _info_for(self, picture: np.ndarray) -> ModelInfo:
        if not self.keeps_size:
            return self.info
        return replace(self.info, input_shape=(self.info.batch, 3, *picture.shape[:2]))

    def _buffer(self, picture: np.ndarray) -> np.ndarray:
        shape = self._info_for(picture).input_shape
        if self._input.shape != shape:
            self._input = np.zeros(shape, np.float32)
        return self._input


def _size(picture: np.ndarray) -> tuple[int, int]:
    """(width, height)."""
    return picture.shape[1], picture.shape[0]
