"""From a folder of data to a config that trains on it: ``tools/init_config.py``."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch

from mmnv3.benchmark.timed_model import Request
from mmnv3.benchmark.training import build_trainings, time_data
from mmnv3.cpu import usable_cores
from mmnv3.datasets.layouts import OwnData, look_at
from mmnv3.datasets.layouts.checks import find_trouble, scaled_boxes
from mmnv3.datasets.layouts.files import (
    check_files,
    file_texts,
    split_off,
    write_files,
)
from mmnv3.datasets.layouts.samples import ANNOTATIONS
from mmnv3.engine.build import quiet_logger
from mmnv3.engine.config import read_config
from mmnv3.errors import UserError
from mmnv3.files import check_output, temporary_folder, whole_or_absent
from mmnv3.memory import keep_freed_memory
from mmnv3.own_data.fitting import (
    choose_crop_overlaps,
    choose_min_scale,
    choose_size,
)
from mmnv3.own_data.page import draw_page
from mmnv3.own_data.recipe import (
    TAILS,
    Recipe,
    choose_batch,
    choose_iterations,
    config_text,
    count_workers,
)
from mmnv3.own_data.weights import Weights, find_published, look_at_weights
from mmnv3.size import Size
from mmnv3.tasks import DETECTION

# Measured iterations; as many come before them while data loading starts.
_RUNS = 6


@dataclass(frozen=True)
class Wish:
    """What somebody asks for.

    Attributes:
        data: The folder of the data.
        task: As in :mod:`mmnv3.tasks`.
        out: The config.
        network: ``'small'`` or ``'large'``.
        minutes: That training may take.
        pretrained: A file or an address of weights; ``'none'`` for random ones,
            ``'auto'`` for torchvision's where they can be had.
        seed: Of the validation set, where there is none.
        force: Whether files of earlier runs may be overwritten.
    """

    data: Path
    task: str
    out: Path
    network: str = 'small'
    minutes: float = 30.0
    pretrained: str = 'auto'
    seed: int = 0
    force: bool = False


def init_config(
    wish: Wish, measure: Callable[[Path], float] | None = None
) -> list[str]:
    """Looks at data, writes a config that trains on them, and says what it found.

    Beside the config it writes a page of pictures, under its name with ``.png``. Into
    the folder ``mmnv3_annotations`` of the data goes what the toolbox cannot read as it
    is: annotation files of other formats, lists of what trains and what validates.

    Args:
        wish: What is asked for.
        measure: Gives the seconds of a training iteration of a config;
            :func:`measure_iteration` by default.

    Returns:
        Lines for the person; the last are the commands that follow.

    Raises:
        UserError: When an output cannot be written or is there already, when the data
            are in no layout or wrong, or when the time is too short. Nothing has been
            written then.
    """
    page = _check_outputs(wish)
    data = look_at(wish.data, wish.task)
    given = len(data.val)
    data = split_off(data, wish.seed)
    texts, folder = file_texts(data), data.root / ANNOTATIONS
    check_files(folder, texts, wish.force)
    if texts:
        check_output(f'{folder}:', folder, folder=True)
    weights = _choose_weights(wish)
    recipe = _fit(wish, data, weights)
    seconds = _measure(data, recipe, texts, wish.out, measure or measure_iteration)
    iterations, reason = choose_iterations(data, recipe.batch, wish.minutes, seconds)
    recipe = replace(recipe, iterations=iterations, why=(recipe.why[0], reason))
    write_files(folder, texts)
    draw_page(data, recipe.size, page)
    with whole_or_absent(wish.out) as partial:
        partial.write_text(config_text(data, recipe), 'utf-8')
    return [
        *_told(data, recipe, given, wish.seed),
        *(f'wrote {folder / name}' for name in texts),
        f'wrote {page}',
        f'wrote {wish.out}',
        *(f'warning: {text}' for text in find_trouble(data, recipe.size)),
        *_commands(wish.out, data, recipe),
    ]


def _check_outputs(wish: Wish) -> Path:
    """Refuses what cannot be written, and says where the page goes."""
    check_output('--out', wish.out)
    if wish.out.suffix != '.py':
        raise UserError(f'--out {wish.out}: a config ends in .py')
    page = wish.out.with_suffix('.png')
    check_output('--out', page)
    for path in (wish.out, page):
        if path.exists() and not wish.force:
            raise UserError(f'{path} exists; overwrite it by --force, or name another')
    for path in (wish.out, wish.data):
        if not str(path.absolute()).isprintable():
            raise UserError(f'{path}: a config cannot name it; rename it')
    return page


def _choose_weights(wish: Wish) -> Weights | None:
    if wish.pretrained == 'none':
        return None
    tail = TAILS[wish.task]
    if wish.pretrained != 'auto':
        return look_at_weights(wish.pretrained, wish.network, tail)
    source = find_published(wish.network)
    if source is None:
        return None
    try:
        return look_at_weights(source, wish.network, tail)
    except UserError:
        # They were within reach, and were not to be had.
        return None


def _fit(wish: Wish, data: OwnData, weights: Weights | None) -> Recipe:
    """Chooses everything but how long to train."""
    size, min_scale = choose_size(data), None
    sizes = np.array([s.size for s in data.samples if s.size is not None])
    usual = Size(*map(int, np.median(sizes, axis=0)))
    why = f'The pictures are {usual}, at the median.'
    if data.task == DETECTION:
        min_scale, fraction = choose_min_scale(data, size)
        sides = np.sqrt(scaled_boxes(data.train, size).prod(axis=1))
        if len(sides):
            why += (
                f' A twentieth of the boxes is smaller than '
                f'{np.percentile(sides, 5):.0f} pixels at this size; {fraction:.0%} of '
                'all overlap an anchor by half.'
            )
    return Recipe(
        network=wish.network,
        size=size,
        min_scale=min_scale,
        weights=weights,
        batch=choose_batch(data),
        workers=count_workers(),
        iterations=1,
        why=(why, ''),
        crop_overlaps=choose_crop_overlaps(data),
    )


def _measure(
    data: OwnData,
    recipe: Recipe,
    texts: dict[str, str],
    out: Path,
    measure: Callable[[Path], float],
) -> float:
    """Measures an iteration of the config as it will be, in a folder that goes."""
    with temporary_folder(out) as folder:
        folder = folder.resolve()
        write_files(folder, texts)
        path = folder / 'config.py'
        text = config_text(data, recipe, annotations=str(folder))
        path.write_text(text, encoding='utf-8')
        read_config(str(path))
        return measure(path)


def measure_iteration(path: Path) -> float:
    """Trains a config for some iterations, with its data, as it will be trained.

    Returns:
        Seconds of an iteration.

    Raises:
        UserError: When its data cannot be loaded.
    """
    keep_freed_memory()
    device = 'cuda' if torch.cuda.is_available() else 'cpu'
    threads = usable_cores()
    torch.set_num_threads(threads)
    request = Request(str(path), threads=threads, device=device)
    with quiet_logger():
        (seconds,), reasons = time_data(build_trainings([request]), _RUNS)
    if seconds is None:
        raise UserError(reasons[0])
    return float(np.median(seconds))


def _told(data: OwnData, recipe: Recipe, given: int, seed: int) -> list[str]:
    boxes = sum(len(sample.boxes) for sample in data.samples)
    counted = f', {boxes} boxes' if data.task == DETECTION else ''
    held = '' if given else f', held out by seed {seed}'
    named = ', '.join(data.classes[:8]) + ' …' * (len(data.classes) > 8)
    source = recipe.weights.source if recipe.weights else 'random weights'
    anchors = '' if recipe.min_scale is None else f', anchors from {recipe.min_scale}'
    return [
        f'{data.layout}: {len(data.train)} pictures to train on, {len(data.val)} to '
        f'validate{held}{counted}',
        f'{data.count_classes()}: {named}',
        f'input {recipe.size}{anchors}: {recipe.why[0]}',
        f'{recipe.iterations} iterations of {recipe.batch} pictures: {recipe.why[1]}',
        f'{recipe.network} network, starting from {source}',
    ]


def _commands(out: Path, data: OwnData, recipe: Recipe) -> Sequence[str]:
    config = read_config(str(out))
    loop = config.train_cfg
    last = (
        f'iter_{loop.max_iters}' if 'max_iters' in loop else f'epoch_{loop.max_epochs}'
    )
    work_dir = Path('work_dirs') / out.stem
    return [
        f'python -m mmnv3 train {out}',
        f'python -m mmnv3 test {out} {work_dir / last}.pth --show-dir pictures',
    ]
