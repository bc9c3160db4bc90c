"""What runs a model fastest on this machine: tried once, and remembered."""

from __future__ import annotations

import json
import os
import time
import warnings
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from statistics import median
from typing import Any

import torch
from platformdirs import user_cache_path

import mmnv3
from mmnv3.cpu import has_bf16, processor_name
from mmnv3.deploy.cache import hash_of, package_versions
from mmnv3.deploy.runtime import FORMATS, Runtime, backend_precisions
from mmnv3.errors import Remark, UserError
from mmnv3.files import whole_or_absent
from mmnv3.json_files import is_number

# What stands for the fastest of all in place of a precision.
AUTO = 'auto'
# How long each is timed. They take turns, so that none has the busy moments alone.
_SECONDS = 1.0
_WARM_UP = 3

# A backend and a precision.
Way = tuple[str, str]


@dataclass(frozen=True)
class Choice:
    """What was found to be fastest.

    Attributes:
        backend: What runs the model.
        precision: What it computes in.
        milliseconds: Of a call, the median, by ``'backend precision'``, rising.
        left_out: Why others were not timed, a line each.
    """

    backend: str
    precision: str
    milliseconds: dict[str, float]
    left_out: tuple[str, ...] = ()

    def __str__(self) -> str:
        times = ', '.join(f'{way} {ms:.1f}' for way, ms in self.milliseconds.items())
        return (
            f'{self.backend} in {self.precision} is the fastest here '
            f'(milliseconds a call: {times})'
        )


def ways_to_try(backends: Sequence[str], with_int8: bool) -> list[Way]:
    """The backends in every precision that this processor may gain by.

    Args:
        backends: Names of :data:`mmnv3.deploy.runtime.BACKENDS`.
        with_int8: Whether there is something to calibrate on.
    """
    return [
        (backend, precision)
        for backend in backends
        for precision in backend_precisions(backend)
        if (precision != 'bf16' or has_bf16()) and (precision != 'int8' or with_int8)
    ]


def choose_fastest(
    ways: Sequence[Way], start: Callable[[str, str], Runtime], about: list[Any]
) -> Choice:
    """Times ways of running a model, or remembers what it found, and says it.

    Args:
        ways: Backends and precisions.
        start: Starts the model in one of them.
        about: All that the model's time depends on but for the machine.

    Returns:
        The fastest. It is kept in the user's cache folder, for this processor and these
        versions of the packages.

    Raises:
        UserError: When the model runs in none of them; with the reason of the first.
    """
    key = hash_of([about, ways, _machine()])
    choice = _remembered(key, ways)
    if choice is None:
        choice = _time(ways, start)
        _remember(key, choice)
    left_out = ''.join(f'; without {line}' for line in choice.left_out)
    warnings.warn(f'{choice}{left_out}', Remark, stacklevel=5)
    return choice


def _machine() -> list[Any]:
    packages = {name for kind in FORMATS.values() for name in kind.packages}
    return [
        processor_name(),
        torch.backends.cpu.get_cpu_capability(),
        has_bf16(),
        os.cpu_count(),
        mmnv3.__version__,
        package_versions(sorted({'torch', *packages})),
    ]


def _time(ways: Sequence[Way], start: Callable[[str, str], Runtime]) -> Choice:
    runtimes: dict[Way, Runtime] = {}
    # Ways by what stands in theirs.
    errors: dict[str, list[Way]] = {}
    for way in ways:
        try:
            runtimes[way] = start(*way)
        except UserError as error:
            errors.setdefault(str(error), []).append(way)
    if not runtimes:
        raise UserError(next(iter(errors)))
    times: dict[Way, list[float]] = {way: [] for way in runtimes}
    for runtime in runtimes.values():
        for _ in range(_WARM_UP):
            runtime.run_blank()
    while waiting := [way for way in runtimes if sum(times[way]) < _SECONDS]:
        for way in waiting:
            begin = time.perf_counter()
            runtimes[way].run_blank()
            times[way].append(time.perf_counter() - begin)
    medians = {way: median(times[way]) for way in runtimes}
    order = sorted(medians, key=lambda way: medians[way])
    return Choice(
        *order[0],
        {' '.join(way): 1e3 * medians[way] for way in order},
        tuple(
            f'{", ".join(map(" ".join, which))}: {error}'
            for error, which in errors.items()
        ),
    )


def _kept(key: str) -> Any:
    return user_cache_path('mmnv3') / 'fastest' / f'{key}.json'


def _remembered(key: str, ways: Sequence[Way]) -> Choice | None:
    """What was found before; None where nothing was, or where it cannot be read."""
    try:
        found = json.loads(_kept(key).read_text(encoding='utf-8'))
        choice = Choice(
            found['backend'],
            found['precision'],
            {str(way): float(ms) for way, ms in found['milliseconds'].items()},
            tuple(map(str, found['left_out'])),
        )
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return None
    known = (choice.backend, choice.precision) in ways
    whole = all(map(is_number, choice.milliseconds.values()))
    return choice if known and whole else None


def _remember(key: str, choice: Choice) -> None:
    path = _kept(key)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with whole_or_absent(path) as partial:
            partial.write_text(json.dumps(asdict(choice)), encoding='utf-8')
    except OSError as error:
        warnings.warn(
            f'{path.parent} cannot be written ({error.strerror}), so that the next run '
            'times again; set XDG_CACHE_HOME to another folder',
            Remark,
            stacklevel=3,
        )
