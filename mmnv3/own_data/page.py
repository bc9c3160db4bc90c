"""A page that shows a data set: some pictures, sizes of boxes, balance of classes."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from mmnv3.datasets.layouts.checks import count_classes, scaled_boxes
from mmnv3.datasets.layouts.masks import IGNORED, read_mask
from mmnv3.datasets.layouts.samples import OwnData, Sample
from mmnv3.deploy.drawing import Colour, distinct_colours
from mmnv3.files import whole_or_absent
from mmnv3.own_data.truth import draw_truth
from mmnv3.pictures import read_picture
from mmnv3.size import Size
from mmnv3.tasks import DETECTION

_SHOWN, _COLUMNS = 8, 4
# Pixels of a picture's long side on the page, and bars of the balance at most.
_LONG_SIDE, _BARS = 480, 30


def draw_page(data: OwnData, size: Size, path: Path) -> None:
    """Writes the page.

    Args:
        data: The data.
        size: Of the network's input, at which boxes are measured.
        path: Of the PNG, which appears whole or not at all.
    """
    figure = Figure(figsize=(14, 11), layout='constrained')
    FigureCanvasAgg(figure)
    grid = figure.add_gridspec(3, _COLUMNS, height_ratios=(1, 1, 1.1))
    palette = distinct_colours(len(data.classes))
    step = max(1, len(data.train) // _SHOWN)
    for index, sample in enumerate(data.train[::step][:_SHOWN]):
        axes = figure.add_subplot(grid[divmod(index, _COLUMNS)])
        axes.imshow(_draw(sample, data, palette))
        axes.set_title(sample.path.name[-40:], fontsize=8)
        axes.axis('off')
    half = _COLUMNS // 2
    _draw_sizes(figure.add_subplot(grid[2, :half]), data, size)
    _draw_balance(figure.add_subplot(grid[2, half:]), data, palette)
    with whole_or_absent(path) as partial:
        figure.savefig(partial, format='png', dpi=80)


def _draw(sample: Sample, data: OwnData, palette: Sequence[Colour]) -> np.ndarray:
    rgb = cv2.cvtColor(read_picture(sample.path), cv2.COLOR_BGR2RGB)
    height, width = rgb.shape[:2]
    scale = _LONG_SIDE / max(height, width)
    shown = Size(max(1, round(width * scale)), max(1, round(height * scale)))
    rgb = cv2.resize(rgb, shown)
    mask, boxes = None, None
    if sample.mask:
        numbers = np.full(256, IGNORED, np.uint8)
        numbers[list(data.labels)] = range(len(data.labels))
        mask = numbers[read_mask(sample.mask)]
        mask = cv2.resize(mask, shown, interpolation=cv2.INTER_NEAREST)
    elif data.task == DETECTION:
        boxes = sample.boxes * scale
        boxes[:, 2:] += boxes[:, :2]
    return draw_truth(rgb, sample.labels, data.classes, palette, boxes, mask)


def _draw_sizes(axes: Axes, data: OwnData, size: Size) -> None:
    if data.task == DETECTION:
        sides = np.sqrt(scaled_boxes(data.samples, size).prod(axis=1))
        axes.hist(
            np.maximum(sides, 1),
            np.geomspace(1, max(size), 40).tolist(),
            color='#219ebc',
        )
        axes.axvline(4, color='#d62828', linestyle='--', label='4 pixels')
        axes.set(xscale='log', ylabel='boxes')
        axes.set_xlabel(f'side of a square of the box’s area, pixels at {size}')
        axes.legend()
    else:
        sides = np.array([max(s.size) for s in data.samples if s.size is not None])
        axes.hist(sides, 40, color='#219ebc')
        axes.set(xlabel='long side of the pictures, pixels', ylabel='pictures')


def _draw_balance(axes: Axes, data: OwnData, palette: Sequence[Colour]) -> None:
    train = count_classes(data.train, len(data.classes))
    val = count_classes(data.val, len(data.classes))
    order = np.argsort(-train, kind='stable')[:_BARS]
    places = np.arange(len(order))
    colours = [np.array(palette[n]) / 255 for n in order]
    axes.barh(places - 0.2, train[order], 0.4, color=colours, label='train')
    axes.barh(places + 0.2, val[order], 0.4, color=colours, alpha=0.5, label='val')
    axes.set_yticks(places, [data.classes[n][:24] for n in order], fontsize=8)
    axes.invert_yaxis()
    axes.set_xlabel('boxes' if data.task == DETECTION else 'pictures')
    rest = len(data.classes) - len(order)
    axes.set_title(
        'upper bars to train on, lower ones to validate'
        + (f'; {rest} rarer classes not shown' if rest else ''),
        fontsize=9,
    )
