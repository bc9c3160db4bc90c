"""How long models take for pictures, stage by stage: ``--task latency``."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import cv2
import numpy as np
import torch
from rich.console import Console
from rich.progress import track
from rich.table import Table

from mmnv3.benchmark.clock import Summary, time_stages
from mmnv3.benchmark.machine import (
    PeakMemory,
    describe_machine,
    measure_peak_memory,
)
from mmnv3.benchmark.models import find_models
from mmnv3.benchmark.report import Bars, Chart, Report, check_plot, make_table
from mmnv3.benchmark.timed_model import NETWORK, POST, STAGES, Request, TimedModel
from mmnv3.deploy.fastest import AUTO
from mmnv3.deploy.info import PRECISIONS
from mmnv3.deploy.runtime import BACKENDS, check_backend, check_precision
from mmnv3.errors import UserError
from mmnv3.memory import keep_freed_memory

_RUNS, _WARM_UP = 50, 5
_COLOURS = dict(zip(STAGES, ('#8ecae6', '#219ebc', '#fb8500', '#219ebc')))
_LEGEND = (
    'load: s until the first call is done; memory: peak MiB of a process that runs '
    'nothing else (in brackets: beyond its imports); size: MB of files, or of tensors; '
    'params and MAdds: millions'
)


@dataclass(frozen=True)
class LatencyRow:
    """A model and what it took.

    Attributes:
        timed: The model.
        stages_ms: Milliseconds of every run, (runs,), by stage.
        memory: Its peak, where it is known.
    """

    timed: TimedModel
    stages_ms: dict[str, np.ndarray]
    memory: PeakMemory | None

    @property
    def whole_ms(self) -> np.ndarray:
        """Milliseconds of every run, all stages together, (runs,)."""
        return np.sum(list(self.stages_ms.values()), axis=0)

    @property
    def pictures_per_second(self) -> float:
        """From the median."""
        return 1e3 * len(self.timed.pictures) / float(np.median(self.whole_ms))

    def ratio(self, first: LatencyRow) -> float:
        """Time as a fraction of another's, the median over pairs of runs in turn."""
        return float(np.median(self.whole_ms / first.whole_ms))

    def to_dict(self, first: LatencyRow) -> dict[str, object]:
        """Everything, for JSON."""
        timed = self.timed
        return dict(
            model=timed.request.model,
            backend=timed.backend,
            precision=timed.precision,
            input_size=list(timed.size),
            batch=len(timed.pictures),
            load_seconds=timed.load_seconds,
            stages_ms={
                stage: asdict(Summary.of(times))
                for stage, times in self.stages_ms.items()
            },
            whole_ms=asdict(Summary.of(self.whole_ms)),
            pictures_per_second=self.pictures_per_second,
            to_the_first=self.ratio(first),
            peak_memory_mib=self.memory and asdict(self.memory),
            size_bytes=timed.file_bytes,
            params=timed.params,
            madds=timed.madds,
            runs_ms={stage: times.tolist() for stage, times in self.stages_ms.items()},
        )


def benchmark_latency(
    requests: Sequence[Request],
    backends: Sequence[str] = ('pytorch',),
    precisions: Sequence[str] = ('fp32',),
    runs: int | None = None,
    json_path: Path | None = None,
    plot_path: Path | None = None,
) -> list[LatencyRow]:
    """Times models on backends, which take turns, and prints what it found.

    Args:
        requests: The models; all with the same threads and device.
        backends: Names of :data:`mmnv3.deploy.runtime.BACKENDS`, or ``'all'``: those
            that are installed and can take the model.
        precisions: Of :data:`mmnv3.deploy.info.PRECISIONS`, or ``'all'``: those that
            the backends have.
        runs: Measured calls of each; 50 for None.
        json_path: File for everything that was measured.
        plot_path: Picture for a bar chart.

    Returns:
        A row for every model and backend.

    Raises:
        UserError: When something asked for does not exist or is not installed.
    """
    if requests[0].checkpoint and len(requests) > 1:
        raise UserError('--checkpoint is for one config, and there are several')
    check_plot(plot_path)
    lenient = 'all' in backends or 'all' in precisions
    names = list(BACKENDS) if 'all' in backends else list(dict.fromkeys(backends))
    numbers = list(PRECISIONS if 'all' in precisions else dict.fromkeys(precisions))
    for name in names:
        check_backend(name)
    if AUTO in numbers:
        raise UserError(
            '--precision auto is what a benchmark is to tell: all times every one, and '
            'names the fastest'
        )
    for precision in numbers:
        check_precision(precision)
    runs = runs or _RUNS
    threads, device = requests[0].threads, requests[0].device
    torch.set_num_threads(threads)
    cv2.setNumThreads(threads)
    kept = device == 'cpu' and keep_freed_memory()
    models: list[TimedModel] = []
    notes: list[str] = []
    with tempfile.TemporaryDirectory(prefix='mmnv3-') as folder:
        for index, request in enumerate(requests):
            subfolder = Path(folder) / str(index)
            subfolder.mkdir()
            request = replace(request, batch=request.batch or 1)
            ready, told = find_models(request, names, numbers, lenient, subfolder)
            models += ready
            notes += told
        if not models:
            raise UserError('no backend is left: ' + '; '.join(notes))
        with torch.no_grad():
            times = time_stages(
                [(model.stages, model.pictures) for model in models],
                runs=runs,
                warm_up=_WARM_UP,
            )
        progress = Console(stderr=True)
        quiet = not progress.is_terminal
        rows = [
            LatencyRow(model, stages_ms, measure_peak_memory(model.child))
            for model, stages_ms in track(
                list(zip(models, times)),
                'peak memory',
                console=progress,
                transient=True,
                disable=quiet,
            )
        ]
    notes = list(dict.fromkeys(notes))
    if kept:
        notes.append('freed memory is kept, as tools/predict.py does')
    settings = dict(
        runs=runs,
        warmup=_WARM_UP,
        threads=threads,
        device=device,
        image=requests[0].image,
    )
    report = Report(
        rows,
        _tables(rows),
        _chart(rows),
        describe_machine(threads, device),
        settings,
        [_LEGEND, *_suppression_lines(rows), *_fastest_lines(rows)],
        notes,
    )
    report.publish(json_path, plot_path)
    return rows


def _tables(rows: Sequence[LatencyRow]) -> list[Table]:
    stages = [stage for stage in STAGES if any(stage in row.stages_ms for row in rows)]
    several = _several(rows)
    title = '' if several else f'{rows[0].timed.request.title}, '
    times: list[dict[str, str]] = []
    costs: list[dict[str, str]] = []
    for row in rows:
        timed, memory, whole = row.timed, row.memory, Summary.of(row.whole_ms)
        names = {'model': timed.request.title} if several else {}
        names['backend'] = timed.method
        medians = {
            stage: f'{np.median(row.stages_ms[stage]):.2f}'
            if stage in row.stages_ms
            else ''
            for stage in stages
        }
        times.append(
            {
                **names,
                **medians,
                'p50': f'{whole.p50:.2f}',
                'p90': f'{whole.p90:.2f}',
                'p99': f'{whole.p99:.2f}',
                'spread': f'{whole.spread:.0%}',
                'pictures/s': f'{row.pictures_per_second:.1f}',
                'ratio': f'{row.ratio(rows[0]):.2f}',
            }
        )
        width, height = timed.size
        costs.append(
            {
                **names,
                'input': f'{len(timed.pictures)}×3×{height}×{width}',
                'load s': f'{timed.load_seconds:.2f}',
                'memory': f'{memory.total:.0f} ({memory.model:.0f})' if memory else '–',
                'size': f'{timed.file_bytes / 1e6:.2f}',
                'params': f'{timed.params / 1e6:.2f}',
                'MAdds': f'{timed.madds / 1e6:,.0f}' if timed.madds else '–',
            }
        )
    return [
        make_table(list(cells[0]), [list(row.values()) for row in cells], title)
        for cells, title in (
            (times, f'{title}milliseconds a call, medians'),
            (costs, None),
        )
    ]


def _several(rows: Sequence[LatencyRow]) -> bool:
    """Whether rows are of several models, which then have to be named."""
    return len({row.timed.request.model for row in rows}) > 1


def _suppression_lines(rows: Sequence[LatencyRow]) -> list[str]:
    """What post-processing costs beside the network, a line for each row."""
    return [
        f'{row.timed.name}: post-processing is '
        f'{np.median(row.stages_ms[POST]) / np.median(row.stages_ms[NETWORK]):.1%} '
        'of the network'
        for row in rows
        if POST in row.stages_ms
    ]


def _fastest_lines(rows: Sequence[LatencyRow]) -> list[str]:
    """What is the fastest of each model that runs in several ways."""
    lines = []
    for model in dict.fromkeys(row.timed.request.model for row in rows):
        own = [row for row in rows if row.timed.request.model == model]
        if len(own) > 1:
            best = min(own, key=lambda row: float(np.median(row.whole_ms)))
            lines.append(
                f'{best.timed.request.title} is the fastest in '
                f'{best.timed.backend} {best.timed.precision}'
            )
    return lines


def _chart(rows: Sequence[LatencyRow]) -> Chart:
    """A bar for each row, its stages end to end."""
    several = _several(rows)

    def medians(stage: str) -> np.ndarray:
        nothing = np.zeros(1)
        return np.array([np.median(row.stages_ms.get(stage, nothing)) for row in rows])

    return Chart(
        title='models' if several else rows[0].timed.request.title,
        axis='milliseconds a call, median',
        names=[row.timed.name if several else row.timed.method for row in rows],
        bars=[Bars(stage, medians(stage), _COLOURS[stage]) for stage in STAGES],
        stacked=True,
        ticks=('p90', np.array([Summary.of(row.whole_ms).p90 for row in rows])),
    )
