"""Short trainings of candidates through mmengine's Runner, scored on held-out data."""

from __future__ import annotations

import errno
import hashlib
import io
import math
import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from dataclasses import dataclass, field, replace
from typing import Any, TypeVar

from mmengine.config import Config
from mmengine.hooks import Hook
from mmengine.runner import Runner
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.utils.data import DataLoader

from mmnv3.benchmark.clock import Stopwatch
from mmnv3.engine.hooks.nan_hook import StopAtNaNHook, not_finite
from mmnv3.engine.launch import build_runner
from mmnv3.errors import NotFiniteError, UserError
from mmnv3.search.configs import Budget, short_config
from mmnv3.search.pool import Failure, run_jobs

State = Mapping[str, Tensor]
Job = TypeVar('Job')
Result = TypeVar('Result')

# The figure that a toolbox judges by.
METRICS = {
    'mmdet': 'coco/bbox_mAP',
    'mmseg': 'mIoU',
    'mmpretrain': 'accuracy/top1',
}
# Those that are of 100.
_PERCENT = (METRICS['mmseg'], METRICS['mmpretrain'])
# The statistics of batch normalisation shall forget their origin several times over.
_MEMORIES = 5
_FASTEST_MOMENTUM = 0.1
# Of a training that may be interrupted.
_CHECKPOINTS = 20
# What a disk says that has no room, and a place that may not be written to.
_FULL = (errno.ENOSPC, errno.EDQUOT)
_CLOSED = (errno.EROFS, errno.EACCES, errno.EPERM)


def digest(state: State) -> str:
    """What tells weights from others."""
    found = hashlib.sha256()
    for name, tensor in state.items():
        found.update(name.encode() + tensor.cpu().numpy().tobytes())
    return found.hexdigest()


@dataclass(frozen=True)
class Trial:
    """What a training came to.

    Args:
        metric: The name of the figure it is judged by, one of :data:`METRICS`.
        value: That figure, as the toolbox gives it (mAP of 1, mIoU and accuracy of
            100), or None for a training that failed.
        metrics: All figures of the evaluation.
        seconds: What it took.
        problem: Why there is no value, in one line.
        state: The weights, on the CPU; None for a training that failed.
    """

    metric: str
    value: float | None
    metrics: dict[str, float] = field(default_factory=dict)
    seconds: float = 0.0
    problem: str | None = None
    state: State | None = field(default=None, repr=False, compare=False)

    @property
    def accuracy(self) -> float | None:
        """The value, 0 to 1."""
        if self.value is None:
            return None
        return self.value / (100 if self.metric in _PERCENT else 1)


def run_trials(
    function: Callable[[Job], Result], jobs: Sequence[Job], ray: str | None = None
) -> Iterator[tuple[int, Result | Failure]]:
    """Runs trainings as :func:`mmnv3.search.pool.run_jobs` does.

    Yields:
        The index of a job and what came of it; of one that broke down, for want of
        memory or because its worker was lost, a :class:`mmnv3.search.pool.Failure`.

    Raises:
        UserError: For what concerns all trainings: a config that cannot be trained,
            a full disk, or a place that may not be written to.
    """
    for index, result in run_jobs(function, jobs, ray):
        if isinstance(result, Failure):
            error = result.error
            if isinstance(error, UserError):
                raise error
            if isinstance(error, OSError) and error.errno in _FULL:
                raise UserError(
                    f'there is no space left for {error.filename or "the log"}; free '
                    'some and run the same command again: what was saved stays'
                ) from error
            if isinstance(error, OSError) and error.errno in _CLOSED:
                raise UserError(
                    f'{error.filename or "the log"} cannot be opened '
                    f'({error.strerror}); give the right to it or name another '
                    '--work-dir'
                ) from error
        yield index, result


def train_and_score(
    config: Config,
    budget: Budget,
    work_dir: str | os.PathLike[str],
    state: State | None = None,
) -> Trial:
    """Trains a config for a while and scores it.

    Args:
        config: Of detection, segmentation or classification; stays as it is. Its
            schedule is compressed to the budget. ``arch`` in it may be a
            :class:`mmnv3.arch.NetSpec` itself.
        budget: How long, and what is held out.
        work_dir: Gets the log; nothing is printed. No checkpoint is written.
        state: All weights to start from; the config's initialisation without.

    Returns:
        The trial. A loss or a figure that is not a number is a trial without a value
        and no error.

    Raises:
        UserError: For a config that cannot be trained.
    """
    metric = metric_name(config)
    stopwatch = Stopwatch()
    watch = _Watch(state, budget)
    problem = None
    with _quiet_runner(short_config(config, budget, work_dir), watch) as runner:
        try:
            if budget.iterations:
                runner.train()
            else:
                runner.val()
        except NotFiniteError as error:
            # What a person could do about it is of no use here.
            problem = str(error).partition(';')[0]
    return _judge(config, runner, watch, metric, problem, stopwatch)


def score_models(
    config: Config,
    budget: Budget,
    work_dir: str | os.PathLike[str],
    models: Callable[[DataLoader], Iterable[nn.Module]],
) -> list[Trial]:
    """Scores models that are trained already, all on the same data.

    Args:
        config: The config, whose own model is not used.
        budget: What is held out.
        work_dir: Gets the log; nothing is printed.
        models: Gives them, one after the other, and gets the training's batches, of
            which there is no end.

    Returns:
        A trial for each.

    Raises:
        UserError: For a config that cannot be evaluated.
    """
    metric = metric_name(config)
    watch = _Watch(None, replace(budget, iterations=0))
    trials = []
    with _quiet_runner(short_config(config, watch.budget, work_dir), watch) as runner:
        loader = runner.build_dataloader(runner.cfg.train_dataloader, seed=runner.seed)
        stopwatch = Stopwatch()
        for model in models(loader):
            runner.model, watch.metrics = model, {}
            runner.val()
            trials.append(_judge(config, runner, watch, metric, None, stopwatch))
            stopwatch = Stopwatch()
    return trials


def train_model(
    config: Config,
    budget: Budget,
    work_dir: str | os.PathLike[str],
    model: nn.Module,
    advance: Callable[[int], Any] = lambda done: None,
) -> State:
    """Trains a model by the recipe of a config, whose own is not used.

    Args:
        config: The config. Its schedule is compressed to the budget.
        budget: How long; what is held out is not trained on.
        work_dir: Gets checkpoints, from the last of which a training that was
            interrupted goes on, and the log; nothing is printed.
        model: What mmengine trains.
        advance: Called with the iterations that are done.

    Returns:
        Its weights.

    Raises:
        UserError: For a config that cannot be trained, and when the loss is no number.
    """
    config = short_config(config, budget, work_dir)
    for name in ('val_dataloader', 'val_evaluator', 'val_cfg'):
        config.pop(name, None)
    interval = max(1, budget.iterations // _CHECKPOINTS)
    config.default_hooks.checkpoint = dict(
        type='CheckpointHook', by_epoch=False, interval=interval, max_keep_ckpts=1
    )
    config.resume = True
    with _quiet_runner(config, StopAtNaNHook()) as runner:
        runner.register_hook(_Advance(advance))
        runner.model = model
        runner.train()
    return {key: tensor.cpu() for key, tensor in model.state_dict().items()}


class _Advance(Hook):
    """Tells how far a training is."""

    def __init__(self, advance: Callable[[int], Any]) -> None:
        self.advance = advance

    def after_train_iter(self, runner: Runner, *_: Any, **__: Any) -> None:
        """Tells it."""
        self.advance(runner.iter + 1)


@contextmanager
def _quiet_runner(config: Config, hook: Hook) -> Iterator[Runner]:
    """A Runner that prints nothing.

    Args:
        config: What :func:`mmnv3.search.configs.short_config` returns.
        hook: One more.
    """
    quiet = io.StringIO()
    # mmengine's console handler keeps the stream that it is created with.
    with redirect_stdout(quiet), redirect_stderr(quiet):
        runner = build_runner(config)
        try:
            runner.register_hook(hook)
            yield runner
        finally:
            _end_workers(runner)
            # The logger stays mmengine's current one, and would write to closed files.
            for handler in list(runner.logger.handlers):
                runner.logger.removeHandler(handler)
                handler.close()


def _end_workers(runner: Runner) -> None:
    """Ends the processes that load data.

    Left to the garbage collector, as what a Runner holds is, each takes five seconds
    of the next training: the collector closes their queues before the loader can send
    the word to end (PyTorch's ``_MultiProcessingDataLoaderIter``), and waits.
    """
    for loop in (runner._train_loop, runner._val_loop):
        loader = getattr(loop, 'dataloader', None)
        # mmengine's endless iterator has one that PyTorch's loader may not keep.
        endless = getattr(loop, 'dataloader_iterator', None)
        for holder in (loader, endless):
            iterator = getattr(holder, '_iterator', None)
            if end := getattr(iterator, '_shutdown_workers', None):
                end()


def _judge(
    config: Config,
    runner: Runner,
    watch: _Watch,
    metric: str,
    problem: str | None,
    stopwatch: Stopwatch,
) -> Trial:
    """What a Runner's model came to.

    Raises:
        UserError: When the config's evaluators do not give the metric.
    """
    value = watch.metrics.get(metric)
    if not watch.metrics and _found_nothing(runner):
        value = 0.0
    # Before the figure: a detector of NaN finds nothing, and COCO has no figure then.
    weights = runner.model.state_dict()
    problem = problem or _broken(weights)
    if problem is None and value is None:
        if watch.metrics:
            raise UserError(
                f'{config.filename}: val_evaluator gives no {metric}; it gives '
                f'{", ".join(watch.metrics)}'
            )
        problem = f'its val_evaluator gives nothing, and so no {metric}'
    if value is not None and not math.isfinite(value):
        problem = problem or f'{metric} is {value}'
    return Trial(
        metric=metric,
        value=None if problem else value,
        metrics=watch.metrics,
        seconds=stopwatch.seconds,
        problem=problem,
        state=None
        if problem
        else {key: tensor.detach().cpu().clone() for key, tensor in weights.items()},
    )


def _found_nothing(runner: Runner) -> bool:
    """Whether nothing was detected: mmdet's metric of COCO then gives no figure."""
    metrics = runner.val_loop.evaluator.metrics
    return any(type(metric).__name__ == 'CocoMetric' for metric in metrics)


def only_finite(trial: Trial) -> Trial:
    """A trial whose figure or weights are not numbers, as one that failed.

    A network of NaN may well have a figure: some evaluators rank its outputs.
    """
    if trial.value is None:
        return trial
    problem = _broken(trial.state or {})
    if not math.isfinite(trial.value):
        problem = f'{trial.metric} is {trial.value}'
    return replace(trial, value=None, problem=problem, state=None) if problem else trial


def _broken(state: Mapping[str, Tensor]) -> str | None:
    """What is wrong with weights, if something is."""
    names = not_finite(state)
    return f'the weights {names[0]} are not finite' if names else None


def metric_name(config: Config) -> str:
    """The figure by which a config is judged.

    Raises:
        UserError: When its toolbox is none of the three.
    """
    scope = config.get('default_scope', 'mmdet')
    if scope not in METRICS:
        raise UserError(
            f'{config.filename}: default_scope={scope!r} is unknown; possible: '
            f'{", ".join(METRICS)}'
        )
    return METRICS[scope]


class _Watch(StopAtNaNHook):
    """Loads the weights, hurries batch normalisation, notes the figures.

    Args:
        state: Weights to load, or None.
        budget: Of the training.
    """

    def __init__(self, state: State | None, budget: Budget) -> None:
        super().__init__()
        self.state = state
        self.budget = budget
        self.metrics: dict[str, float] = {}

    def before_train(self, runner: Runner) -> None:
        """Comes after the initialisation, which would undo it."""
        self._load(runner)
        fastest = min(_FASTEST_MOMENTUM, _MEMORIES / self.budget.iterations)
        for module in runner.model.modules():
            if isinstance(module, _BatchNorm) and module.momentum is not None:
                module.momentum = max(module.momentum, fastest)

    def before_val(self, runner: Runner) -> None:
        """Loads the weights where nothing is trained."""
        if not self.budget.iterations:
            self._load(runner)

    def _load(self, runner: Runner) -> None:
        if self.state is not None:
            runner.model.load_state_dict(self.state)

    def after_val_epoch(
        self, runner: Runner, metrics: dict[str, float] | None = None
    ) -> None:
        """Notes the figures."""
        self.metrics = {name: float(value) for name, value in (metrics or {}).items()}
