"""The size of a picture, said in one order."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from mmnv3.errors import UserError


class Size(NamedTuple):
    """Pixels (or cells of a feature map), width first as in configs and on tools.

    Arrays, tensors and OpenMMLab's ``*_shape`` have the height first.
    """

    width: int
    height: int

    @classmethod
    def of(cls, value: int | Sequence[int], name: str = 'size') -> Size:
        """Reads one number, for a square, or (width, height).

        Args:
            value: What somebody gave.
            name: What it is called where they gave it, for the error.

        Raises:
            UserError: When it is not one or two positive whole numbers.
        """
        numbers = (value, value) if isinstance(value, int) else value
        if (
            not isinstance(numbers, Sequence)
            or len(numbers) != 2
            or not all(type(number) is int and number > 0 for number in numbers)
        ):
            raise UserError(
                f'{name}={value!r} is no size; give a positive number of pixels, or '
                '(width, height)'
            )
        return cls(*numbers)

    def __str__(self) -> str:
        """As ``320x240``."""
        return f'{self.width}x{self.height}'
