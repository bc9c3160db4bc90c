"""The two measurements of tools/benchmark.py, from requests to tables."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import cv2
import torch
from rich.console import Console
from rich.progress import track

from mmnv3.benchmark.latency import measure
from mmnv3.benchmark.latency_report import Row, plot_rows, print_rows, write_json
from mmnv3.benchmark.machine import describe_machine
from mmnv3.benchmark.peak_memory import measure_peak_memory
from mmnv3.benchmark.subject import Request
from mmnv3.benchmark.subjects import Subjects
from mmnv3.benchmark.trainees import build_trainees
from mmnv3.benchmark.training_speed import (
    TrainingRow,
    measure_steps,
    measure_with_data,
    plot_training,
    print_training,
    write_training_json,
)
from mmnv3.deploy.runtime import BACKENDS, check_backend
from mmnv3.errors import UserError
from mmnv3.memory import keep_freed_memory

_RUNS, _WARMUP, _TRAINING_RUNS = 50, 5, 10


def benchmark_latency(
    requests: Sequence[Request],
    backends: Sequence[str] = ('pytorch',),
    precisions: Sequence[str] = ('fp32',),
    runs: int | None = None,
    json_path: Path | None = None,
    plot_path: Path | None = None,
) -> list[Row]:
    """Times models on backends, which take turns, and prints what it found.

    Args:
        requests: The models; all with the same threads and device.
        backends: Names of :data:`mmnv3.deploy.runtime.BACKENDS`, or ``'all'``: those
            that are installed and can take the model.
        precisions: ``'fp32'``, ``'int8'`` or both.
        runs: Measured calls of each; 50 for None.
        json_path: File for everything that was measured.
        plot_path: Picture for a bar chart.

    Returns:
        A row for every model and backend.

    Raises:
        UserError: When something asked for does not exist or is not installed.
    """
    check_requests(requests, json_path, plot_path)
    lenient = 'all' in backends
    names = list(BACKENDS) if lenient else list(dict.fromkeys(backends))
    for name in names:
        check_backend(name)
    for precision in precisions:
        check_backend('onnxruntime', precision)
    runs = runs or _RUNS
    threads, device = requests[0].threads, requests[0].device
    torch.set_num_threads(threads)
    cv2.setNumThreads(threads)
    kept = device == 'cpu' and keep_freed_memory()
    progress = Console(stderr=True)
    with tempfile.TemporaryDirectory(prefix='mmnv3-') as folder:
        subjects = Subjects()
        for index, request in enumerate(requests):
            subfolder = Path(folder) / str(index)
            subfolder.mkdir()
            request = replace(request, batch=request.batch or 1)
            subjects.add(request, names, precisions, lenient, subfolder)
        if not subjects.ready:
            raise UserError('no backend is left: ' + '; '.join(subjects.notes))
        times = measure(
            {
                index: (subject.stages, subject.pictures)
                for index, subject in enumerate(subjects.ready)
            },
            runs,
            _WARMUP,
        )
        rows = [
            Row(subject, times[index], measure_peak_memory(subject.child))
            for index, subject in enumerate(
                track(
                    subjects.ready,
                    'peak memory',
                    console=progress,
                    transient=True,
                    disable=not progress.is_terminal,
                )
            )
        ]
    machine = describe_machine(threads, device)
    notes = list(dict.fromkeys(subjects.notes))
    if kept:
        notes.append('freed memory is kept, as tools/predict.py does')
    print_rows(rows, machine, notes)
    settings = dict(
        runs=runs,
        warmup=_WARMUP,
        threads=threads,
        device=device,
        image=requests[0].image,
    )
    if json_path:
        write_json(json_path, rows, machine, settings, notes)
    if plot_path:
        plot_rows(plot_path, rows, machine)
    return rows


def benchmark_training(
    requests: Sequence[Request],
    backends: Sequence[str] = ('pytorch',),
    precisions: Sequence[str] = ('fp32',),
    runs: int | None = None,
    json_path: Path | None = None,
    plot_path: Path | None = None,
) -> list[TrainingRow]:
    """Times training iterations of models, which take turns, and prints what it found.

    Args:
        requests: The models; all with the same threads and device.
        backends: ``'pytorch'``; nothing else trains.
        precisions: ``'fp32'``.
        runs: Measured iterations of each; 10 for None.
        json_path: File for everything that was measured.
        plot_path: Picture for a bar chart.

    Returns:
        A row for every model.

    Raises:
        UserError: When something asked for does not exist or cannot be trained.
    """
    check_requests(requests, json_path, plot_path)
    if tuple(backends) != ('pytorch',) or tuple(precisions) != ('fp32',):
        raise UserError('--task train is for --backend pytorch --precision fp32')
    unused = [name for name in ('checkpoint', 'image') if getattr(requests[0], name)]
    if unused:
        raise UserError(f'--task train has no use for --{unused[0]}; leave it out')
    runs = runs or _TRAINING_RUNS
    threads, device = requests[0].threads, requests[0].device
    torch.set_num_threads(threads)
    notes = []
    if device == 'cpu' and keep_freed_memory():
        notes.append('freed memory is kept, for all of them, as by KeepMemoryHook')
    trainees = build_trainees(list(requests))
    noise = measure_steps(trainees, runs)
    data, reasons = measure_with_data(trainees, runs)
    rows = [TrainingRow(*row) for row in zip(trainees, noise, data)]
    machine = describe_machine(threads, device)
    notes += [f'without data: {reason}' for reason in reasons]
    print_training(rows, machine, notes)
    settings = dict(runs=runs, threads=threads, device=device)
    if json_path:
        write_training_json(json_path, rows, machine, settings, notes)
    if plot_path:
        plot_training(plot_path, rows, machine)
    return rows


def check_requests(
    requests: Sequence[Request], json_path: Path | None, plot_path: Path | None
) -> None:
    """Checks before minutes are spent what would fail after them.

    Raises:
        UserError: When a checkpoint is for several models, or results have no place.
    """
    if requests[0].checkpoint and len(requests) > 1:
        raise UserError('--checkpoint is for one config, and there are several')
    for option, path in (('--json', json_path), ('--plot', plot_path)):
        if path and not path.parent.is_dir():
            raise UserError(f'{option} {path}: there is no folder {path.parent}')
    if plot_path and plot_path.suffix not in ('.png', '.svg', '.pdf', '.jpg'):
        raise UserError(f'--plot {plot_path} must end in .png, .svg, .pdf or .jpg')
