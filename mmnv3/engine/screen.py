"""What a person sees while a config trains: a bar, or lines, and what it came to."""

from __future__ import annotations

import io
import logging
import os
import shlex
import sys
import time
from collections.abc import Mapping, Sequence
from contextlib import ExitStack, redirect_stdout
from functools import partial
from pathlib import Path
from typing import Any

import psutil
import torch
from mmengine.dist import is_main_process
from mmengine.hooks import Hook
from mmengine.runner import Runner
from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TaskID,
    TextColumn,
    TimeRemainingColumn,
)

from mmnv3.engine.hooks.curves_hook import CurvesHook
from mmnv3.mim import config_name

# Of the loss that is shown, how much is that of the newest iteration.
_NEWEST = 0.05
# A message of more lines is a page: the environment, a config, the hooks.
_LINES = 3
# Of every parameter that an optimiser treats differently.
_PAGES = ('paramwise_options',)


class Screen(logging.Filter):
    """Decides what mmengine's log shows on the screen; its file has all of it.

    Warnings and errors are always shown. Of the rest, nothing beside a progress bar or
    with ``quiet``; otherwise all but pages before it begins.

    Args:
        quiet: Whether only warnings and the summary are shown.
        bar: Whether there is a progress bar where standard output is a terminal.

    Attributes:
        began: Whether the training or the test has begun, before which pages are of
            what mmengine is made of.
    """

    def __init__(self, quiet: bool = False, bar: bool = True) -> None:
        super().__init__()
        self.quiet = quiet
        self.bar = bar and not quiet and sys.stdout.isatty() and is_main_process()
        self.began = False

    def filter(self, record: logging.LogRecord) -> bool:
        """Whether a record is shown."""
        if record.levelno > logging.INFO:
            return True
        if self.quiet or self.bar:
            return False
        text = record.getMessage()
        page = text.count('\n') >= _LINES or text.startswith(_PAGES)
        return self.began or not page

    def join(self, logger: logging.Logger) -> None:
        """Filters what a logger writes to the screen."""
        for handler in _on_screen(logger):
            handler.addFilter(self)
            # A log that nobody reads ends a tool, as whatever else it prints does.
            handler.handleError = partial(  # type: ignore[method-assign]
                _raise_if_unread, handler
            )

    def runner_class(self) -> type[Runner]:
        """The runner of mmengine, whose log is filtered from its first line on."""
        screen = self

        class ScreenRunner(Runner):
            def build_logger(self, *args: Any, **settings: Any) -> Any:
                logger = super().build_logger(*args, **settings)
                screen.join(logger)
                return logger

        return ScreenRunner


class ProgressHook(Hook):
    """Shows how far a training is, and in the end what it came to.

    It goes round the training as a context. On a terminal it is a bar with the loss,
    the newest and the best metric, pictures a second, the memory that the process
    holds, and the time left.

    Args:
        screen: What is shown beside it.
        console: Where; standard output for None.
    """

    priority = 'LOWEST'

    def __init__(self, screen: Screen, console: Console | None = None) -> None:
        self._screen = screen
        self._console = console
        self._progress: Progress | None = None
        self._training = self._validation = TaskID(0)
        self._loss: float | None = None
        self._pictures, self._seconds = 0, 0.0
        self._begin = self._iteration_begin = 0.0
        self._metric = ''
        self._silence = ExitStack()

    def __enter__(self) -> ProgressHook:
        """Silences what libraries print, beside a bar and with ``quiet``."""
        if self._screen.bar or self._screen.quiet:
            self._silence.enter_context(redirect_stdout(io.StringIO()))
        return self

    def __exit__(self, *_: object) -> None:
        """Ends that, and the bar; also of a training that was stopped."""
        self._close()

    def before_train(self, runner: Runner) -> None:
        """Starts the bar."""
        self._screen.began = True
        self._begin = time.monotonic()
        if not self._screen.bar:
            return
        self._silence.close()
        self._progress = Progress(
            TextColumn('{task.description}'),
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn('{task.fields[told]}'),
            TimeRemainingColumn(),
            console=self._console or Console(),
            # A hundred pictures a second need no more.
            refresh_per_second=2,
        )
        self._training = self._progress.add_task(
            'train', total=runner.max_iters, completed=runner.iter, told=''
        )
        self._progress.start()
        for handler in _on_screen(runner.logger):
            # Warnings go above the bar, not through it.
            handler.setStream(sys.stdout)

    def before_train_iter(
        self, runner: Runner, batch_idx: int, data_batch: Any = None
    ) -> None:
        """Notes when an iteration begins."""
        self._iteration_begin = time.perf_counter()

    def after_train_iter(
        self,
        runner: Runner,
        batch_idx: int,
        data_batch: Any = None,
        outputs: Mapping | None = None,
    ) -> None:
        """Moves the bar on."""
        if self._progress is None:
            return
        self._seconds += time.perf_counter() - self._iteration_begin
        self._pictures += len((data_batch or {}).get('inputs', ()))
        loss = float((outputs or {}).get('loss', 'nan'))
        known = self._loss if self._loss is not None else loss
        self._loss = known + _NEWEST * (loss - known)
        self._progress.update(self._training, advance=1, told=self._told())

    def before_val_epoch(self, runner: Runner) -> None:
        """Shows a second bar while it validates."""
        if self._progress is not None:
            self._validation = self._progress.add_task(
                'validate', total=len(runner.val_dataloader), told=''
            )
            # COCO's evaluation prints a table, whose figures the log has.
            self._silence.enter_context(redirect_stdout(io.StringIO()))

    def after_val_iter(
        self,
        runner: Runner,
        batch_idx: int,
        data_batch: Any = None,
        outputs: Sequence | None = None,
    ) -> None:
        """Moves the second bar on."""
        if self._progress is not None:
            self._progress.advance(self._validation)

    def after_val_epoch(
        self, runner: Runner, metrics: dict[str, float] | None = None
    ) -> None:
        """Shows the metric, and the best so far."""
        if self._progress is None:
            return
        self._silence.close()
        self._progress.remove_task(self._validation)
        key, best = _best(runner)
        value = (metrics or {}).get(key or '')
        if value is not None:
            self._metric = f'{key} {value:.3f}'
            self._metric += '' if best is None else f' (best {best:.3f})'
            self._progress.update(self._training, told=self._told())

    def after_train(self, runner: Runner) -> None:
        """Ends the bar, and says what it came to."""
        self._close()
        if is_main_process():
            seconds = time.monotonic() - self._begin
            print(*summary(runner, seconds), sep='\n')

    def _close(self) -> None:
        self._silence.close()
        if self._progress is not None:
            self._progress.stop()
            self._progress = None

    def _told(self) -> str:
        parts = [] if self._loss is None else [f'loss {self._loss:.3f}']
        if self._metric:
            parts.append(self._metric)
        if self._seconds:
            parts.append(f'{self._pictures / self._seconds:.1f} pictures/s')
        return ', '.join([*parts, f'{_memory_gib():.1f} GiB'])


def _on_screen(logger: logging.Logger) -> list[logging.StreamHandler]:
    """Handlers that write to the screen; those of files are of subclasses."""
    return [h for h in logger.handlers if type(h) is logging.StreamHandler]


def _raise_if_unread(handler: logging.Handler, record: logging.LogRecord) -> None:
    """What a handler does where it cannot write a record."""
    if isinstance(sys.exc_info()[1], BrokenPipeError):
        raise
    logging.Handler.handleError(handler, record)


def _memory_gib() -> float:
    """What the GPU's tensors hold at most, or without one what this process does."""
    if torch.cuda.is_available():
        return torch.cuda.max_memory_allocated() / 2**30
    return psutil.Process().memory_info().rss / 2**30


def _best(runner: Runner) -> tuple[str | None, float | None]:
    """The metric that the best checkpoint is chosen by, and the best value so far."""
    for hook in runner.hooks:
        if getattr(hook, 'save_best', None):
            keys = getattr(hook, 'key_indicators', None) or [None]
            hub = runner.message_hub
            return keys[0], hub.runtime_info.get('best_score')
    return None, None


def summary(runner: Runner, seconds: float) -> list[str]:
    """What a training came to, and what to do next.

    Args:
        runner: When it has trained.
        seconds: That it took, since it began or was resumed.

    Returns:
        Lines.
    """
    info = runner.message_hub.runtime_info
    (name, score), best = _best(runner), info.get('best_ckpt')
    # It may have been removed since, or be on another machine's disk.
    checkpoint = best if best and os.path.isfile(best) else _last(runner.work_dir)
    minutes, rest = divmod(round(seconds), 60)
    lines = [f'trained {runner.iter} iterations in {minutes} min {rest} s']
    if name and score is not None:
        lines[0] += f'; best {name} {score:.4f}'
    if checkpoint is None:
        return lines
    curves = Path(runner.work_dir) / 'curves.png'
    lines.append(f'checkpoint: {checkpoint}')
    if any(isinstance(hook, CurvesHook) for hook in runner.hooks):
        lines.append(f'curves: {curves}')
    config = config_name(runner.cfg.filename)
    commands = (
        ('test', config, checkpoint, '--show-dir', 'pictures'),
        ('predict', config, 'PICTURES', '--checkpoint', checkpoint, '--out', 'drawn'),
        ('export', config, checkpoint, '--format', 'onnx', '--out', 'model.onnx'),
    )
    return [*lines, *next_commands(*commands)]


def next_commands(*commands: Sequence[object]) -> list[str]:
    """Lines that say what to run next, as a shell takes it.

    Args:
        commands: Of each the tool and its arguments.
    """
    lines = (shlex.join(map(str, command)) for command in commands)
    return ['next:', *(f'  python -m mmnv3 {line}' for line in lines)]


def _last(work_dir: str) -> str | None:
    place = Path(work_dir) / 'last_checkpoint'
    if not place.is_file():
        return None
    return place.read_text(encoding='utf-8').strip() or None
