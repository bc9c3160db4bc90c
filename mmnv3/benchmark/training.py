"""How fast models train, with a batch at hand and with their data: ``--task train``."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator, Sequence
from contextlib import redirect_stdout
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torchvision
from mmengine.config import Config
from mmengine.device import get_device
from mmengine.optim import build_optim_wrapper
from mmengine.registry import DefaultScope
from mmengine.runner import Runner
from mmengine.structures import InstanceData, PixelData
from mmengine.utils.dl_utils import set_multi_processing
from rich.table import Table
from torch import Tensor, nn
from torch.autograd.graph import saved_tensors_hooks
from torch.nn import functional as F
from torch.utils.data import DataLoader
from torchvision.transforms.functional import normalize

from mmnv3.benchmark.clock import Summary, time_stages, time_turns
from mmnv3.benchmark.foreign import (
    MEAN,
    STD,
    build_torchvision,
    pack,
    toolbox_size,
    torchvision_module,
)
from mmnv3.benchmark.machine import describe_machine
from mmnv3.benchmark.models import find_pretrained
from mmnv3.benchmark.report import Bars, Chart, Report, check_plot, make_table
from mmnv3.benchmark.timed_model import NOISE_SIZE, TORCHVISION, Request
from mmnv3.cpu import has_bf16
from mmnv3.engine.build import build_model, quiet_logger
from mmnv3.engine.config import anchor_size, read_config
from mmnv3.engine.launch import set_bfloat16
from mmnv3.errors import UserError
from mmnv3.memory import keep_freed_memory
from mmnv3.size import Size

_RUNS, _WARM_UP = 10, 2
# Times that the turn goes round while data is loaded.
_ROUNDS = 2
# Objects of a noise picture; COCO's have 7 on average.
_OBJECTS = 7
# What torchvision's and mmseg's losses of pixels pass over.
_IGNORED = 255
# Random weights stay finite, and a step costs the same at any rate.
_RATE = 1e-6

# Of what is computed; weights and the optimiser's memory are float32.
TRAINING_PRECISIONS = ('fp32', 'bf16')

Batch = dict[str, list]


@dataclass(frozen=True)
class Training:
    """A model that is ready to be trained for a few iterations.

    Attributes:
        request: What was asked for.
        precision: One of :data:`TRAINING_PRECISIONS`.
        size: Pixels of the input.
        batch: Pictures of an iteration.
        step: Trains on a batch as the data loader gives it.
        noise: A batch of noise, always the same.
        classes: Classes, without background.
        loader: Builds the config's own data loader.
    """

    request: Request
    precision: str
    size: Size
    batch: int
    step: Callable[[Batch], Any]
    noise: Batch
    classes: int
    loader: Callable[[], DataLoader] | None

    @property
    def title(self) -> str:
        """The model's name, and the precision if it is not float32."""
        precision = '' if self.precision == 'fp32' else f' {self.precision}'
        return self.request.title + precision


@dataclass(frozen=True)
class TrainingRow:
    """A model and how fast it trains.

    Attributes:
        training: The model.
        noise_seconds: Of every iteration with the batch at hand, (runs,).
        data_seconds: Of an iteration with the data pipeline, one number for each of its
            turns; None where there is no data.
        kept_bytes: What a forward pass keeps for the backward pass, but for weights:
            most of the memory that training takes.
    """

    training: Training
    noise_seconds: np.ndarray
    data_seconds: np.ndarray | None
    kept_bytes: int

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
            precision=self.training.precision,
            input_size=list(self.training.size),
            batch=self.training.batch,
            iteration_seconds=asdict(Summary.of(self.noise_seconds)),
            images_per_second=self.images_per_second,
            images_per_second_with_data=self.images_per_second_with_data,
            kept_bytes=self.kept_bytes,
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
        precisions: Of :data:`TRAINING_PRECISIONS`; every model is timed in each.
        runs: Measured iterations of each; 10 for None.
        json_path: File for everything that was measured.
        plot_path: Picture for a bar chart.

    Returns:
        A row for every model and precision.

    Raises:
        UserError: When something asked for does not exist or cannot be trained.
    """
    check_plot(plot_path)
    if tuple(backends) != ('pytorch',) or set(precisions) - set(TRAINING_PRECISIONS):
        raise UserError(
            '--task train is for --backend pytorch --precision '
            f'{",".join(TRAINING_PRECISIONS)} or one of them'
        )
    unused = [name for name in ('checkpoint', 'image') if getattr(requests[0], name)]
    if unused:
        raise UserError(f'--task train has no use for --{unused[0]}; leave it out')
    runs = runs or _RUNS
    threads, device = requests[0].threads, requests[0].device
    torch.set_num_threads(threads)
    notes = []
    if device == 'cpu' and keep_freed_memory():
        notes.append('freed memory is kept, for all of them, as by KeepMemoryHook')
    trainings = build_trainings(requests, precisions)
    kept = [count_kept_bytes(training) for training in trainings]
    noise = time_noise(trainings, runs)
    data, reasons = time_data(trainings, runs)
    rows = [TrainingRow(*row) for row in zip(trainings, noise, data, kept)]
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


def count_kept_bytes(training: Training) -> int:
    """Counts what an iteration with the batch at hand keeps for its backward pass.

    Returns:
        Bytes of all that is saved, once each, without the weights.
    """
    kept: dict[int, tuple[int, Tensor]] = {}

    def note(tensor: Tensor) -> Tensor:
        # Of a turned weight it is the weight.
        whole = tensor if tensor._base is None else tensor._base
        if not (whole.is_leaf and whole.requires_grad):
            storage = tensor.untyped_storage()
            # The tensor too, so that nothing else gets its place.
            kept[storage.data_ptr()] = storage.nbytes(), tensor
        return tensor

    with saved_tensors_hooks(note, lambda tensor: tensor):
        training.step(training.noise)
    return sum(size for size, _ in kept.values())


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
            name = training.title
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
    headers += ['images/s with data', 'speed', 'kept for backward']
    first, cells = rows[0], []
    for row in rows:
        width, height = row.training.size
        summary = Summary.of(row.noise_seconds)
        with_data = row.images_per_second_with_data
        reference = first.images_per_second_with_data
        cells.append(
            [
                row.training.title,
                f'{row.training.batch}×3×{height}×{width}',
                f'{summary.p50:.3f}',
                f'{summary.p90:.3f}',
                f'{summary.spread:.0%}',
                f'{row.images_per_second:.1f}',
                f'{row.images_per_second / first.images_per_second:.2f}',
                f'{with_data:.1f}' if with_data else '–',
                f'{with_data / reference:.2f}' if with_data and reference else '–',
                f'{row.kept_bytes / 1e6:.0f} MB',
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
        names=[row.training.title for row in rows],
        bars=[
            Bars('a batch at hand', noise, '#219ebc'),
            Bars('with the data pipeline', data, '#fb8500'),
        ],
    )


def config_training(
    request: Request, precision: str = 'fp32', config: Config | None = None
) -> Training:
    """Makes a config's model ready, with its optimiser and its data loader.

    Args:
        request: What was asked for.
        precision: One of :data:`TRAINING_PRECISIONS`.
        config: The config; by default it is read as the request says.

    Raises:
        UserError: When there is no such config, or when it cannot be trained.
    """
    config = config or read_config(request.model, dict(request.options or {}))
    config.merge_from_dict(dict.fromkeys(find_pretrained(config)))
    if 'train_dataloader' not in config or 'optim_wrapper' not in config:
        raise UserError(
            f'{request.model} has no train_dataloader or no optim_wrapper; --task '
            'train takes configs that tools/train.py can train'
        )
    request.check_device()
    _check_precision(request, precision)
    if precision == 'bf16':
        set_bfloat16(config)
    if request.batch:
        config.train_dataloader.batch_size = request.batch
    if config.get('data_preprocessor'):
        config.model.setdefault('data_preprocessor', config.data_preprocessor)
    scope = config.get('default_scope', 'mmdet')
    model: Any = build_model(config).to(request.device).train()
    with DefaultScope.overwrite_default_scope(scope), quiet_logger():
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
        losses['loss'].item()

    return Training(
        request=request,
        precision=precision,
        size=size,
        batch=batch,
        step=step,
        noise=noise_batch(model, size, batch, classes),
        classes=classes,
        loader=None if request.size else lambda: _build_loader(config, scope),
    )


def _check_precision(request: Request, precision: str) -> None:
    if precision == 'bf16' and request.device != 'cpu':
        raise UserError(
            f'--task train --precision bf16 is for a CPU, not for {request.device}'
        )


def torchvision_training(
    request: Request, companion: Training, precision: str = 'fp32'
) -> Training:
    """Makes a model of torchvision ready, trained by a plain loop.

    Args:
        request: What was asked for.
        companion: The config whose pictures, batch and classes it gets.
        precision: One of :data:`TRAINING_PRECISIONS`; bfloat16 is that of
            ``torch.autocast``.

    Raises:
        UserError: When there is no such model, or when it is for another task than the
            config.
    """
    request.check_device()
    _check_precision(request, precision)
    loss_of, truth = _LOSSES[torchvision_module(request.model)]
    if truth not in companion.noise['data_samples'][0]:
        raise UserError(
            f'{request.model} is for another task than {companion.request.model}, '
            'whose pictures it would train on; name a config of its task first'
        )
    # A detector's background is its first class.
    classes = companion.classes + (loss_of is _detector_loss)
    model = build_torchvision(request.model, num_classes=classes)
    model.to(request.device).train()
    optimizer = torch.optim.SGD(
        model.parameters(), lr=_RATE, momentum=0.9, weight_decay=4e-5
    )

    def step(data: Batch) -> None:
        with torch.autocast('cpu', torch.bfloat16, enabled=precision == 'bf16'):
            loss = loss_of(model, data, companion.size, request.device)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        loss.item()

    return Training(
        request=request,
        precision=precision,
        size=companion.size,
        batch=companion.batch,
        step=step,
        noise=companion.noise,
        classes=companion.classes,
        loader=companion.loader,
    )


def _detector_loss(model: nn.Module, data: Batch, size: Size, device: str) -> Tensor:
    """The sum of a detector's own losses."""
    images = [_rgb(picture).to(device) for picture in data['inputs']]
    targets = [_target(sample, device) for sample in data['data_samples']]
    return torch.stack(list(model(images, targets).values())).sum()


def _segmenter_loss(model: nn.Module, data: Batch, size: Size, device: str) -> Tensor:
    masks = [sample.gt_sem_seg.data for sample in data['data_samples']]
    truth = _join(masks, size, _IGNORED)[:, 0].long().to(device)
    out = model(_normalised(data, size, device))['out']
    return F.cross_entropy(out, truth, ignore_index=_IGNORED)


def _classifier_loss(model: nn.Module, data: Batch, size: Size, device: str) -> Tensor:
    truth = torch.cat([sample.gt_label for sample in data['data_samples']])
    return F.cross_entropy(model(_normalised(data, size, device)), truth.to(device))


# Of torchvision's models, as its reference trainings have it, and what a sample has
# that is for them.
_LOSSES = {
    torchvision.models.detection: (_detector_loss, 'gt_instances'),
    torchvision.models.segmentation: (_segmenter_loss, 'gt_sem_seg'),
    torchvision.models: (_classifier_loss, 'gt_label'),
}


def build_trainings(
    requests: Sequence[Request], precisions: Sequence[str] = ('fp32',)
) -> list[Training]:
    """Makes everything ready.

    Args:
        requests: The models.
        precisions: Of :data:`TRAINING_PRECISIONS`, for each of them.

    Returns:
        For every model one training in each precision.

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
    built = {
        (request.model, precision): config_training(request, precision)
        for request in configs
        for precision in precisions
    }
    companion = next(iter(built.values()))
    return [
        built.get((request.model, precision))
        or torchvision_training(request, companion, precision)
        for request in requests
        for precision in precisions
    ]


def trains_faster_by_amp(config: Config) -> bool:
    """Whether this machine trains a config faster in mixed precision.

    A GPU does, and a CPU without instructions for bfloat16 does not. On others a few
    iterations of both take turns.

    Raises:
        UserError: When the config cannot be trained, or when several processes train,
            which might not come to the same.
    """
    if get_device() != 'cpu' or not has_bf16():
        return get_device() == 'cuda'
    if config.get('launcher', 'none') != 'none':
        raise UserError(
            '--auto-amp measures in one process; with --launcher give --amp, or neither'
        )
    if any(
        hook.type == 'mmnv3.KeepMemoryHook' for hook in config.get('custom_hooks', ())
    ):
        keep_freed_memory()
    request = Request(str(config.filename), threads=torch.get_num_threads())
    trainings = [
        config_training(request, precision, copy.deepcopy(config))
        for precision in TRAINING_PRECISIONS
    ]
    fp32, bf16 = (np.median(times) for times in time_noise(trainings, _RUNS))
    return bool(bf16 < fp32)


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


def _join(maps: Sequence[Tensor], size: Size, fill: int) -> Tensor:
    """Stacks (C, H, W) maps of up to a size, which they are filled up to."""
    return torch.stack(
        [
            F.pad(
                each,
                (0, size.width - each.shape[2], 0, size.height - each.shape[1]),
                value=fill,
            )
            for each in maps
        ]
    )


def _normalised(data: Batch, size: Size, device: str) -> Tensor:
    """The pictures as torchvision's models are trained on them, (N, 3, H, W)."""
    pictures = [normalize(_rgb(each), MEAN, STD) for each in data['inputs']]
    return _join(pictures, size, 0).to(device)


def _rgb(picture: Tensor) -> Tensor:
    """From (3, H, W) uint8 BGR to RGB from 0 to 1."""
    return picture.flip(0).float() / 255


def _target(sample: Any, device: str) -> dict[str, Tensor]:
    boxes = sample.gt_instances.bboxes
    return dict(
        boxes=getattr(boxes, 'tensor', boxes).to(device),
        labels=sample.gt_instances.labels.to(device) + 1,
    )
