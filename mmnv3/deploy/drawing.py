"""Draws what was found into pictures."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import cv2
import matplotlib
import numpy as np
import torch
from torch import Tensor
from torchvision.utils import draw_bounding_boxes, draw_segmentation_masks

from mmnv3.deploy.results import Classification, Detections, Result, Segmentation
from mmnv3.legend import add_legend

Colour = tuple[int, ...]

_FONT = str(Path(matplotlib.get_data_path(), 'fonts/ttf/DejaVuSans.ttf'))
# Pixels of a label's letters, and what the long side of a picture should have at least
# to have room for them.
_LETTERS = 12
_ROOM = 800
# Where labels cover more of a picture than this they become scores alone, and a legend
# names the classes.
_CROWDED = 0.08


def draw(
    picture: np.ndarray,
    result: Result,
    palette: Sequence[Colour] = (),
    threshold: float = 0.3,
    keep_size: bool = False,
) -> np.ndarray:
    """Draws a result.

    Args:
        picture: (H, W, 3) uint8, BGR.
        result: What was found in it.
        palette: Colours of the classes, RGB; distinct ones where there are none.
        threshold: Detections that score more are drawn.
        keep_size: Whether the result must have the picture's size, as a frame of a
            video.

    Returns:
        The same kind of picture. A small one with detections is enlarged; a legend, or
        the best classes, stand in a strip below. Where the size is kept, nothing is
        enlarged, and the strip covers the lower part, half of the picture at most.
    """
    if not palette:
        palette = distinct_colours(len(result.classes))
    rgb = cv2.cvtColor(picture, cv2.COLOR_BGR2RGB)
    enlarge = 1 if keep_size else max(1, round(_ROOM / max(rgb.shape[:2])))
    drawn = _DRAW[type(result)](rgb, result, palette, threshold, enlarge)
    if keep_size:
        height, width = rgb.shape[:2]
        strip = drawn[height:, :width][: height // 2]
        drawn = drawn[:height, :width].copy()
        drawn[height - len(strip) :] = strip
    return cv2.cvtColor(drawn, cv2.COLOR_RGB2BGR)


def distinct_colours(count: int) -> list[Colour]:
    """Colours, RGB, that differ in hue, and neighbours much."""
    # Steps of the golden angle never come close to a hue that was there.
    hues = np.arange(count) * (3 - 5**0.5) / 2 % 1
    light = np.resize([0.95, 0.75, 0.85], count)
    hsv = np.stack([hues, np.full(count, 0.85), light], 1)
    colours = matplotlib.colors.hsv_to_rgb(hsv) if count else hsv
    return [tuple(int(255 * part) for part in colour) for colour in colours]


def _draw_boxes(
    rgb: np.ndarray,
    result: Detections,
    palette: Sequence[Colour],
    threshold: float,
    enlarge: int,
) -> np.ndarray:
    # Whole factors keep the pixels as they are.
    height, width = rgb.shape[0] * enlarge, rgb.shape[1] * enlarge
    rgb = cv2.resize(rgb, (width, height), interpolation=cv2.INTER_CUBIC)
    shown = result.scores > threshold
    boxes, scores, labels = (
        values[shown][::-1].copy()  # The best are drawn last, over the others.
        for values in (result.boxes * enlarge, result.scores, result.labels)
    )
    if not len(boxes):
        return rgb
    # A box has to be drawn even where rounding leaves no pixel of it.
    boxes[:, 2:] = np.maximum(boxes[:, 2:], boxes[:, :2])
    names = [f'{result.classes[n]} {s:.2f}' for n, s in zip(labels, scores)]
    letters = max(_LETTERS, max(height, width) // 70)
    covered = sum(map(len, names)) * 0.6 * letters * 1.4 * letters
    crowded = covered > _CROWDED * height * width
    if crowded:
        names = [f'{score:.2f}'[1:] if score < 0.995 else '1' for score in scores]
    colours = [tuple(palette[label]) for label in labels]
    drawn = draw_bounding_boxes(
        _planes(rgb),
        torch.from_numpy(boxes),
        names,
        colours,
        width=max(1, letters // 6),
        font=_FONT,
        font_size=letters,
        fill_labels=True,
        label_colors=[_ink(colour) for colour in colours],
    )
    drawn = drawn.permute(1, 2, 0).numpy()
    return _with_legend(drawn, result.classes, palette, labels) if crowded else drawn


def _draw_mask(
    rgb: np.ndarray, result: Segmentation, palette: Sequence[Colour], *_: float
) -> np.ndarray:
    labels = np.unique(result.mask)
    drawn = draw_segmentation_masks(
        _planes(rgb),
        torch.from_numpy(result.mask == labels[:, None, None]),
        alpha=0.5,
        colors=[tuple(palette[label]) for label in labels],
    )
    drawn = drawn.permute(1, 2, 0).numpy()
    return _with_legend(drawn, result.classes, palette, labels)


def _draw_classes(
    rgb: np.ndarray,
    result: Classification,
    palette: Sequence[Colour],
    *_: float,
) -> np.ndarray:
    entries = {
        f'{result.classes[label].partition(",")[0]} {score:.2f}': palette[label]
        for label, score in zip(result.labels, result.scores)
    }
    return add_legend(rgb, entries)


_DRAW: dict[type, Callable[..., np.ndarray]] = {
    Detections: _draw_boxes,
    Segmentation: _draw_mask,
    Classification: _draw_classes,
}


def _with_legend(
    drawn: np.ndarray,
    classes: Sequence[str],
    palette: Sequence[Colour],
    labels: np.ndarray,
) -> np.ndarray:
    return add_legend(
        drawn, {classes[label]: palette[label] for label in np.unique(labels)}
    )


def _planes(rgb: np.ndarray) -> Tensor:
    return torch.from_numpy(rgb.transpose(2, 0, 1).copy())


def _ink(colour: Colour) -> str:
    """Black or white, whichever can be read on a colour."""
    red, green, blue = colour
    return 'black' if 0.3 * red + 0.59 * green + 0.11 * blue > 140 else 'white'
