"""What the values of command-line arguments may be: types for argparse."""

from __future__ import annotations

import argparse
import math
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

from mmnv3.errors import UserError
from mmnv3.mim import find_config
from mmnv3.optional import require

# More threads than this, and than there are cores, only use up the system's.
_MOST_THREADS = max(64, os.cpu_count() or 1)
# Pixels of a side, and pictures of a call: beyond is no memory.
_MOST_PIXELS = _MOST_BATCH = 1 << 14


def whole_number(least: int, most: int) -> Callable[[str], int]:
    """A type of whole numbers, from the smallest to the largest that is taken."""

    def read(text: str) -> int:
        try:
            value = int(text)
        except ValueError:
            raise argparse.ArgumentTypeError(
                f'{text[:40]!r} is no whole number'
            ) from None
        if not least <= value <= most:
            raise argparse.ArgumentTypeError(f'{value} is not from {least} to {most}')
        return value

    return read


count = whole_number(1, 2**31 - 1)
threads = whole_number(1, _MOST_THREADS)
batch = whole_number(1, _MOST_BATCH)
pixels = whole_number(1, _MOST_PIXELS)
# What NumPy's generators take.
seed = whole_number(0, 2**32 - 1)


def number(text: str) -> float:
    """A finite number."""
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not math.isfinite(value):
        raise argparse.ArgumentTypeError(f'{text!r} is no number')
    return value


def positive(text: str) -> float:
    """A finite number above 0."""
    value = number(text)
    if value <= 0:
        raise argparse.ArgumentTypeError(f'{text} is not above 0')
    return value


def name(text: str) -> str:
    """The name of a file or folder, of a model or of an address; never empty."""
    if not text.strip() or '\0' in text:
        raise argparse.ArgumentTypeError(f'{text!r} is no name')
    return text


def config(text: str) -> str:
    """A config's file, to which the name of one of ours leads; or another name."""
    try:
        return find_config(name(text))
    except UserError as error:
        raise argparse.ArgumentTypeError(str(error)) from None


def path(text: str) -> Path:
    """The name of a file or folder, as a path."""
    return Path(name(text))


def names(text: str) -> list[str]:
    """Names between commas."""
    return [name(part) for part in text.split(',')]


class Settings(argparse.Action):
    """mmengine's ``DictAction``, which reads KEY=VALUE, with errors for a person."""

    def __call__(
        self,
        parser: argparse.ArgumentParser,
        namespace: argparse.Namespace,
        values: Any,
        option_string: str | None = None,
    ) -> None:
        """Adds settings to those that were given before."""
        # Only configs have settings, and exported files are read without mmengine.
        action = require('mmengine.config', 'openmmlab').DictAction
        given = getattr(namespace, self.dest) or {}
        read = action(self.option_strings, self.dest)
        for text in values:
            try:
                if not text.partition('=')[0].strip('. '):
                    raise ValueError
                read(parser, namespace, [text], option_string)
            except (ValueError, AssertionError):
                parser.error(f'argument {option_string}: {text!r} is not KEY=VALUE')
        setattr(namespace, self.dest, {**given, **getattr(namespace, self.dest)})
