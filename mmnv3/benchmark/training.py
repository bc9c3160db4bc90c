"""How fast models train, with a batch at hand and with their data: ``--task train``."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import redirect_stdout
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from mmengine.config import Config
from mmengine.optim import build_optim_wrapper
from mmengine.registry import DefaultScope
from mmengine.runner import Runner
from mmengine.structures import InstanceData, PixelData
from mmengine.utils.dl_utils import set_multi_processing
from rich.table import Table
from torch import Tensor, nn
from torch.utils.data import DataLoader

from mmnv3.benchmark.clock import Summary, time_stages, time_turns
from mmnv3.benchmark.foreign import build_torchvision, pack, toolbox_size
from mmnv3.benchmark.machine import describe_machine
from mmnv3.benchmark.models import find_pretrained
from mmnv3.benchmark.report import Bars, Chart, Report, check_plot, make_table
from mmnv3.benchmark.timed_model import NOISE_SIZE, TORCHVISION, Request
from mmnv3.engine.build import build_model
from mmnv3.engine.config import anchor_size, read_config
from mmnv3.errors import UserError
from mmnv3.memory import keep_freed_memory
from mmnv3.size import Size

_RUNS, _WARM_UP = 10, 2
# Times that the turn goes round while data is loaded.
_ROUNDS = 2
# Objects of a noise picture; COCO's have 7 on average.
_OBJECTS = 7
# Random weights stay finite, and a step costs the same at any rate.
_RATE = 1e-6

Batch = dict[str, list]


@dataclass(frozen=True)
class Training:
    """A model that is ready to be trained for a few iterations.

    Attributes:
        request: What was asked for.
        size: Pixels of the input.
        batch: Pictures of an iteration.
        step: Trains on a batch as the data loader gives it.
        noise: A batch of noise, always the same.
        classes: Classes, without background.
        loader: Builds the config's own data loader.
    """

    request: Request
    size: Size
    batch: int
    step: Callable[[Batch], Any]
    noise: Batch
    classes: int
    loader: Callable[[], DataLoader] | None


@dataclass(frozen=True)
class TrainingRow:
    """A model and how fast it trains.

    Attributes:
        training: The model.
        noise_seconds: Of every iteration with the batch at hand, (runs,).
        data_seconds: Of an iteration with the data pipeline, one number for each of its
            turns; None where there is no data.
    """

    training: Training
    noise_seconds: np.ndarray
    data_seconds: np.ndarray | None

    @property
    def images_per_second(self) -> float:
        """With the batch at hand."""
        return self.training.batch / float(np.median(self.noise_seconds))

    @property
    def images_per_second_with_data(self) -> float | None:
        """With the data pipeline."""
        if self.data_seconds is None:
            return None
        return self.training.batch / float(np.median(self.data_seconds))

    def to_dict(self, first: TrainingRow) -> dict[str, object]:
        """Everything, for JSON."""
        return dict(
            model=self.training.request.model,
            input_size=list(self.training.size),
            batch=self.training.batch,
            iteration_seconds=asdict(Summary.of(self.noise_seconds)),
            images_per_second=self.images_per_second,
            images_per_second_with_data=self.images_per_second_with_data,
            speed_to_the_first=self.images_per_second / first.images_per_second,
            runs_seconds=self.noise_seconds.tolist(),
        )


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
    check_plot(plot_path)
    if tuple(backends) != ('pytorch',) or tuple(precisions) != ('fp32',):
        raise UserError('--task train is for --backend pytorch --precision fp32')
    unused = [name for name in ('checkpoint', 'image') if getattr(requests[0], name)]
    if unused:
        raise UserError(f'--task train has no use for --{unused[0]}; leave it out')
    runs = runs or _RUNS
    threads, device = requests[0].threads, requests[0].device
    torch.set_num_threads(threads)
    notes = []
    if device == 'cpu' and keep_freed_memory():
        notes.append('freed memory is kept, for all of them, as by KeepMemoryHook')
    trainings = build_trainings(requests)
    noise = time_noise(trainings, runs)
    data, reasons = time_data(trainings, runs)
    rows = [TrainingRow(*row) for row in zip(trainings, noise, data)]
    report = Report(
        rows,
        [_table(rows)],
        _chart(rows),
        describe_machine(threads, device),
        dict(runs=runs, threads=threads, device=device),
        [],
        [*notes, *(f'without data: {reason}' for reason in reasons)],
    )
    report.publish(json_path, plot_path)
    return rows


def time_noise(
    trainings: Sequence[Training], runs: int, warm_up: int = _WARM_UP
) -> list[np.ndarray]:
    """Times iterations with the batch at hand; the models take turns.

    Args:
        trainings: The models.
        runs: Measured iterations of each.
        warm_up: Iterations before them that do not count.

    Returns:
        Seconds of every iteration, (runs,), of each model.
    """
    steps = [partial(each.step, each.noise) for each in trainings]
    return list(time_turns(steps, runs=runs, warm_up=warm_up).T / 1e6)


def time_data(
    trainings: Sequence[Training], runs: int
) -> tuple[list[np.ndarray | None], list[str]]:
    """Times iterations with the configs' own data loaders.

    The models take turns of several iterations, since the loader of one works ahead
    while another is timed. What it has ready when a turn begins does not count.

    Args:
        trainings: The models.
        runs: Measured iterations of each.

    Returns:
        Seconds of an iteration in every turn, of each model, or None without data; and
        the reasons of the latter.
    """
    steps = max(1, runs // _ROUNDS)
    turns, reasons = {}, []
    for index, training in enumerate(trainings):
        if training.loader is None:
            name = training.request.model
            reasons.append(f'{name}: --size leaves its data pipeline out')
            continue
        try:
            loader = training.loader()
        except UserError as error:
            reasons.append(str(error))
            continue
        ready = loader.num_workers * (loader.prefetch_factor or 0) + 1
        train = partial(_train, training.step)
        parts = {'ready': partial(train, ready), 'loaded': partial(train, steps)}
        turns[index] = parts, _repeat(loader)
    times = time_stages(list(turns.values()), runs=_ROUNDS, warm_up=0) if turns else []
    found: list[np.ndarray | None] = [None] * len(trainings)
    for index, times_ms in zip(turns, times):
        found[index] = times_ms['loaded'] / 1e3 / steps
    return found, list(dict.fromkeys(reasons))


def _train(
    step: Callable[[Batch], Any], count: int, stream: Iterator[Batch]
) -> Iterator[Batch]:
    """Trains on the next batches of a stream, which it returns."""
    for _ in range(count):
        step(next(stream))
    return stream


def _repeat(loader: DataLoader) -> Iterator[Batch]:
    """The batches of a loader, over and over."""
    while True:
        yield from loader


def _table(rows: Sequence[TrainingRow]) -> Table:
    headers = ['model', 'input', 'p50', 'p90', 'spread', 'images/s', 'speed']
    headers += ['images/s with data', 'speed']
    first, cells = rows[0], []
    for row in rows:
        width, height = row.training.size
        summary = Summary.of(row.noise_seconds)
        with_data = row.images_per_second_with_data
        reference = first.images_per_second_with_data
        cells.append(
            [
                row.training.request.title,
                f'{row.training.batch}×3×{height}×{width}',
                f'{summary.p50:.3f}',
                f'{summary.p90:.3f}',
                f'{summary.spread:.0%}',
                f'{row.images_per_second:.1f}',
                f'{row.images_per_second / first.images_per_second:.2f}',
                f'{with_data:.1f}' if with_data else '–',
                f'{with_data / reference:.2f}' if with_data and reference else '–',
            ]
        )
    return make_table(headers, cells, 'training: an iteration in seconds')


def _chart(rows: Sequence[TrainingRow]) -> Chart:
    """Two bars for each model: images a second, without and with data."""
    noise = np.array([row.images_per_second for row in rows])
    data = np.array([row.images_per_second_with_data or 0 for row in rows])
    return Chart(
        title=f'batch {rows[0].training.batch}',
        axis='training images a second',
        names=[row.training.request.title for row in rows],
        bars=[
            Bars('a batch at hand', noise, '#219ebc'),
            Bars('with the data pipeline', data, '#fb8500'),
        ],
    )


def config_training(request: Request) -> Training:
    """Makes a config's model ready, with its optimiser and its data loader.

    Raises:
        UserError: When there is no such config, or when it cannot be trained.
    """
    config = read_config(request.model, dict(request.options or {}))
    config.merge_from_dict(dict.fromkeys(find_pretrained(config)))
    if 'train_dataloader' not in config or 'optim_wrapper' not in config:
        raise UserError(
            f'{request.model} has no train_dataloader or no optim_wrapper; --task '
            'train takes configs that tools/train.py can train'
        )
    request.check_device()
    if request.batch:
        config.train_dataloader.batch_size = request.batch
    if config.get('data_preprocessor'):
        config.model.setdefault('data_preprocessor', config.data_preprocessor)
    scope = config.get('default_scope', 'mmdet')
    model: Any = build_model(config).to(request.device).train()
    with DefaultScope.overwrite_default_scope(scope):
        optimizer = build_optim_wrapper(model, config.optim_wrapper)
    for group in optimizer.param_groups:
        group['lr'] = _RATE
    asked = request.size or anchor_size(config)
    size = toolbox_size(config, NOISE_SIZE, asked, 'train_dataloader')
    batch = config.train_dataloader.batch_size
    classes = _classes(model)

    def step(data: Batch) -> None:
        losses = model.train_step(data, optimizer)
        # A plain loop looks at its loss, and a GPU has to be waited for.
        float(losses['loss'])

    return Training(
        request=request,
        size=size,
        batch=batch,
        step=step,
        noise=noise_batch(model, size, batch, classes),
        classes=classes,
        loader=None if request.size else lambda: _build_loader(config, scope),
    )


def torchvision_training(request: Request, companion: Training) -> Training:
    """Makes a detector of torchvision ready, trained by a plain loop.

    Args:
        request: What was asked for.
        companion: The config whose pictures, batch and classes it gets.

    Raises:
        UserError: When there is no such detector.
    """
    request.check_device()
    # Its background is the first class.
    model = build_torchvision(request.model, num_classes=companion.classes + 1)
    if not hasattr(model, 'transform'):
        raise UserError(
            f'{request.model} has no loss of its own; of torchvision, detectors can be '
            'trained here'
        )
    model.to(request.device).train()
    optimizer = torch.optim.SGD(
        model.parameters(), lr=_RATE, momentum=0.9, weight_decay=4e-5
    )

    def step(data: Batch) -> None:
        images = [_rgb(picture).to(request.device) for picture in data['inputs']]
        targets = [_target(sample, request.device) for sample in data['data_samples']]
        loss = sum(model(images, targets).values())
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        float(loss)

    return Training(
        request=request,
        size=companion.size,
        batch=companion.batch,
        step=step,
        noise=companion.noise,
        classes=companion.classes,
        loader=companion.loader,
    )


def build_trainings(requests: Sequence[Request]) -> list[Training]:
    """Makes everything ready.

    Raises:
        UserError: When torchvision's models have no config beside them, or something
            does not exist.
    """
    configs = [item for item in requests if not item.model.startswith(TORCHVISION)]
    if not configs:
        raise UserError(
            f'{requests[0].model} trains on the pictures of a config; name one before '
            'it, as configs/ssdlite_mnv3_large_coco.py'
        )
    built = {id(request): config_training(request) for request in configs}
    companion = built[id(configs[0])]
    return [
        built.get(id(request)) or torchvision_training(request, companion)
        for request in requests
    ]


def noise_batch(
    model: nn.Module, size: tuple[int, int], batch: int, classes: int
) -> Batch:
    """Pictures of noise, with as much to learn as real ones have.

    Args:
        model: The model, which decides the kind of the samples.
        size: (width, height).
        batch: Pictures.
        classes: Classes that are drawn from.
    """
    width, height = size
    random = np.random.default_rng(0)
    pictures = random.integers(0, 256, (batch, height, width, 3), np.uint8)
    data = pack(model, list(pictures), size)
    for sample in data['data_samples']:
        if hasattr(sample, 'set_gt_label'):
            sample.set_gt_label(int(random.integers(classes)))
        elif hasattr(model, 'decode_head'):
            labels = torch.from_numpy(random.integers(0, classes, (1, height, width)))
            sample.gt_sem_seg = PixelData(data=labels)
        else:
            corners = random.random((_OBJECTS, 2, 2)) * (width, height)
            corners = np.sort(corners, axis=1)
            corners[:, 1] = np.minimum(corners[:, 1] + 8, (width, height))
            corners[:, 0] = np.minimum(corners[:, 0], corners[:, 1] - 4)
            sample.gt_instances = InstanceData(
                bboxes=torch.from_numpy(corners.reshape(-1, 4)).float(),
                labels=torch.from_numpy(random.integers(0, classes, _OBJECTS)),
            )
            sample.ignored_instances = InstanceData(
                bboxes=torch.zeros(0, 4), labels=torch.zeros(0, dtype=torch.long)
            )
    return data


def _build_loader(config: Config, scope: str) -> DataLoader:
    """The Runner's data loader.

    Raises:
        UserError: When its data is not there.
    """
    set_multi_processing(**config.get('env_cfg', {}).get('mp_cfg', {}))
    try:
        # COCO's reader prints.
        with redirect_stdout(None), DefaultScope.overwrite_default_scope(scope):
            return Runner.build_dataloader(config.train_dataloader, seed=0)
    except (OSError, UserError) as error:
        reason = str(error).strip().splitlines()[-1]
        raise UserError(f'{config.filename}: no training data ({reason})') from None


def _classes(model: nn.Module) -> int:
    """The classes that a model is to learn."""
    heads = 'bbox_head', 'decode_head', 'head', 'rpn_head'
    roi_head = getattr(model, 'roi_head', None)
    found = [getattr(model, name) for name in heads if hasattr(model, name)]
    found = [getattr(roi_head, 'bbox_head', None), *found]
    return next(head.num_classes for head in found if hasattr(head, 'num_classes'))


def _rgb(picture: Tensor) -> Tensor:
    """From (3, H, W) uint8 BGR to RGB from 0 to 1."""
    return picture.flip(0).float() / 255


def _target(sample: Any, device: str) -> dict[str, Tensor]:
    boxes = sample.gt_instances.bboxes
    return dict(
        boxes=getattr(boxes, 'tensor', boxes).to(device),
        labels=sample.gt_instances.labels.to(device) + 1,
    )
