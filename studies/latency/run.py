"""From nothing to the page: exports, measures what is missing, renders."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from pathlib import Path
from typing import TypeVar

from rich.console import Console
from rich.progress import track

from mmnv3.benchmark.machine import describe_machine
from mmnv3.errors import UserError
from mmnv3.files import whole_or_absent
from studies.latency.measuring import THREADS, measure_study
from studies.latency.page import correlation_lines, render_page
from studies.latency.plots import draw_study
from studies.latency.preparing import (
    export_variant,
    installed_backends,
    pairs,
)
from studies.latency.results import Results
from studies.latency.studies import STUDIES
from studies.latency.study import Study

Item = TypeVar('Item')

# Compiling takes a quarter of a minute for each network, at every run of the tool.
BACKENDS = ('pytorch', 'onnxruntime', 'openvino', 'litert')
RUNS = 60


def find_studies(keys: Sequence[str]) -> list[Study]:
    """Studies by their keys; all for none.

    Raises:
        UserError: For an unknown key.
    """
    unknown = [key for key in keys if key not in STUDIES]
    if unknown:
        raise UserError(
            f'--study {unknown[0]} is unknown; possible: {", ".join(STUDIES)}'
        )
    return [STUDIES[key] for key in keys or STUDIES]


def pending_studies(
    studies: Sequence[Study], backends: Sequence[str], path: Path
) -> list[Study]:
    """Those of some studies that have to be measured yet.

    A study was measured if it had the same rows, by all of these backends, on the same
    machine with the same versions of packages.

    Args:
        studies: What shall be measured.
        backends: By what; those that are not installed do not matter.
        path: The JSON of the results; there may be none.

    Raises:
        UserError: When no backend is installed, or the file cannot be read.
    """
    names, _ = installed_backends(backends)
    results = Results.read(path) if path.is_file() else Results()
    machine = describe_machine(THREADS)

    def is_done(study: Study) -> bool:
        measured = results.studies.get(study.key)
        if not measured or not measured.fits(study) or measured.machine != machine:
            return False
        return {name for *_, name in pairs(study, names)} <= set(measured.backends)

    return [study for study in studies if not is_done(study)]


def prepare_studies(
    studies: Sequence[Study],
    backends: Sequence[str],
    folder: Path,
    console: Console,
) -> None:
    """Exports what was not exported yet.

    Args:
        studies: What will be measured.
        backends: By what.
        folder: Where the files are kept.
        console: Where progress is shown.

    Raises:
        UserError: When no backend is installed, or the folder cannot be written.
    """
    names, _ = installed_backends(backends)
    every = dict.fromkeys(
        (variant, backend)
        for study in studies
        for _, variant, backend in pairs(study, names)
    )
    for variant, backend in _track(every, 'exporting', console):
        export_variant(folder, variant, backend)


def measure_studies(
    studies: Sequence[Study],
    backends: Sequence[str],
    folder: Path,
    path: Path,
    runs: int,
    console: Console,
) -> Results:
    """Measures studies, and keeps each of them as soon as it is done.

    Args:
        studies: What to measure; its files were exported.
        backends: By what.
        folder: Where the exported files are.
        path: The JSON of the results, which is read and written.
        runs: Turns of each network.
        console: Where progress is shown.

    Returns:
        All results of the file.

    Raises:
        UserError: When no backend is installed, or a file cannot be read or written.
    """
    names, notes = installed_backends(backends)
    results = Results.read(path) if path.is_file() else Results()
    for study in _track(studies, 'measuring', console):
        results.studies[study.key] = measure_study(study, names, folder, runs, notes)
        results.write(path)
    return results


def write_page(results: Results, path: Path) -> list[Path]:
    """Writes the page, and its plots beside it.

    Args:
        results: What was measured, at least one study.
        path: Of the page, which appears whole or not at all, after its plots.

    Returns:
        The files that were written.

    Raises:
        UserError: When nothing was measured, or was of other networks than the
            studies have now, or when a file cannot be written.
    """
    known = {key: found for key, found in results.studies.items() if key in STUDIES}
    if not known:
        raise UserError('nothing was measured; run without --from')
    for key, measured in known.items():
        if not measured.fits(STUDIES[key]):
            raise UserError(
                f'what was measured of {STUDIES[key].title!r} has other rows than it '
                f'has now; measure it again: --study {key} --fresh'
            )
    plots = {key: f'{path.stem}_{key}.png' for key in known}
    text = render_page(results, path.with_suffix('').as_posix(), plots)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        for key, name in plots.items():
            draw_study(STUDIES[key], known[key], path.parent / name)
        with whole_or_absent(path) as partial:
            partial.write_text(text, encoding='utf-8')
    except OSError as error:
        raise UserError(f'{path} cannot be written: {error.strerror}') from error
    return [path, *(path.parent / name for name in plots.values())]


def print_correlations(results: Results, console: Console) -> None:
    """Prints a line for each study."""
    for line in correlation_lines(results):
        console.print(line, highlight=False, markup=False, soft_wrap=True)


def _track(items: Collection[Item], what: str, console: Console) -> Iterable[Item]:
    """Shows a bar on a terminal, and nothing in a log."""
    quiet = not (items and console.is_terminal)
    return track(items, what, console=console, transient=True, disable=quiet)
