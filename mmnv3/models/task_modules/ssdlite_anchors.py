"""The anchors of SSDLite, for any input size."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from mmdet.models.task_modules.prior_generators import AnchorGenerator
from torch import Tensor

from mmnv3.registry import TASK_UTILS

# An anchor's shape: its scale as a fraction of the image, and width over height.
Shape = tuple[float, float]


def tensorflow_shapes(scales: Sequence[float]) -> list[list[Shape]]:
    """Anchor shapes of the paper's detector: 3 on the first level, 6 on the others.

    Source: Object Detection API ``ssd_anchor_generator`` with the ratios of the V3
    pipeline configs and ``reduce_boxes_in_lowest_layer``.

    Args:
        scales: One per level, and the one that follows the last.
    """
    levels = [[(0.1, 1.0), (scales[0], 2.0), (scales[0], 0.5)]]
    for scale, following in zip(scales[1:], scales[2:]):
        shapes = [(scale, ratio) for ratio in (1.0, 2.0, 0.5, 3.0, 0.3333)]
        levels.append([*shapes, (math.sqrt(scale * following), 1.0)])
    return levels


def torchvision_shapes(scales: Sequence[float]) -> list[list[Shape]]:
    """Anchor shapes of torchvision's ``ssdlite320``: 6 on every level.

    Source: torchvision ``models/detection/anchor_utils.py``.

    Args:
        scales: One per level, and the one that follows the last.
    """
    return [
        [
            (scale, 1.0),
            (math.sqrt(scale * following), 1.0),
            (scale, 2.0),
            (scale, 1 / 2),
            (scale, 3.0),
            (scale, 1 / 3),
        ]
        for scale, following in zip(scales, scales[1:])
    ]


_SHAPES = {'tensorflow': tensorflow_shapes, 'torchvision': torchvision_shapes}


@TASK_UTILS.register_module()
class SSDLiteAnchorGenerator(AnchorGenerator):
    """Anchors laid out over the whole input, whatever its size and its strides.

    A level of h × w cells has its centres at ((j + ½) / w, (i + ½) / h) of the input.
    The two layouts differ in their shapes and in two rules. ``'tensorflow'`` measures
    scales by the input's shorter side and clips an anchor's corners to the input;
    ``'torchvision'`` measures widths by its width and heights by its height, and clips
    widths and heights only.

    Args:
        input_size: Pixels of the network's input, one number or (width, height) as in
            mmdet's ``Resize``.
        layout: ``'tensorflow'`` (the paper's, 2034 anchors at 320) or
            ``'torchvision'`` (3234).
        num_levels: Feature levels.
        min_scale: Scale of the first level, a fraction of the input.
        max_scale: Scale of the last level.

    Raises:
        ValueError: For an unknown layout or a size that is not positive.
    """

    def __init__(
        self,
        input_size: int | Sequence[int] = 320,
        layout: str = 'tensorflow',
        num_levels: int = 6,
        min_scale: float = 0.2,
        max_scale: float = 0.95,
    ) -> None:
        if layout not in _SHAPES:
            raise ValueError(
                f'layout={layout!r} is unknown; possible: {", ".join(_SHAPES)}'
            )
        size = (input_size,) * 2 if isinstance(input_size, int) else tuple(input_size)
        if len(size) != 2 or min(size) <= 0:
            raise ValueError(
                f'input_size={input_size!r} must be one positive number of pixels, '
                'or (width, height)'
            )
        self.input_size: tuple[int, int] = size
        self.layout = layout
        step = (max_scale - min_scale) / (num_levels - 1)
        scales = [*(min_scale + step * level for level in range(num_levels)), 1.0]
        self.shapes = _SHAPES[layout](scales)
        self.base_anchors = [self._base_anchors(shapes) for shapes in self.shapes]
        # What the parent's methods read; the real strides follow from the maps' sizes.
        self.strides = [(None, None)] * num_levels
        self.use_box_type = False
        self._grids: dict[tuple, Tensor] = {}

    def _base_anchors(self, shapes: list[Shape]) -> Tensor:
        """Anchors around the origin in pixels, (A, 4) as x1, y1, x2, y2."""
        width, height = self.input_size
        if self.layout == 'tensorflow':
            width = height = min(width, height)
        halves = torch.tensor(
            [
                (scale * math.sqrt(ratio) / 2, scale / math.sqrt(ratio) / 2)
                for scale, ratio in shapes
            ]
        )
        if self.layout == 'torchvision':
            halves = halves.clamp(max=0.5)
        halves = halves * halves.new_tensor((width, height))
        return torch.cat((-halves, halves), dim=1)

    def single_level_grid_priors(
        self,
        featmap_size: tuple[int, int],
        level_idx: int,
        dtype: torch.dtype = torch.float32,
        device: torch.device | str = 'cuda',
    ) -> Tensor:
        """All anchors of a level, row by row and cell by cell.

        Args:
            featmap_size: Cells of the level, (h, w).
            level_idx: The level.
            dtype: Of the result.
            device: Of the result.

        Returns:
            (h * w * A, 4), x1, y1, x2, y2 in pixels of the input.
        """
        key = (*map(int, featmap_size), level_idx, dtype, str(device))
        if key not in self._grids:
            self._grids[key] = self._grid(key[0], key[1], level_idx).to(device, dtype)
        return self._grids[key]

    def _grid(self, rows: int, columns: int, level: int) -> Tensor:
        width, height = self.input_size
        y, x = torch.meshgrid(
            (torch.arange(rows) + 0.5) * (height / rows),
            (torch.arange(columns) + 0.5) * (width / columns),
            indexing='ij',
        )
        centres = torch.stack((x, y, x, y), dim=-1).view(-1, 1, 4)
        anchors = (centres + self.base_anchors[level]).view(-1, 4)
        if self.layout == 'tensorflow':
            anchors = anchors.clamp(min=0)
            anchors = anchors.minimum(anchors.new_tensor((width, height) * 2))
        return anchors

    def valid_flags(
        self,
        featmap_sizes: list[tuple[int, int]],
        pad_shape: tuple[int, int],
        device: torch.device | str = 'cuda',
    ) -> list[Tensor]:
        """Every anchor is valid, since the anchors span the input by definition.

        Args:
            featmap_sizes: Cells of the levels, (h, w) each.
            pad_shape: Size of the padded image; its agreement with ``input_size`` is
                the head's concern.
            device: Of the result.

        Returns:
            A vector of True for each level.
        """
        return [
            torch.ones(rows * columns * anchors, dtype=torch.bool, device=device)
            for (rows, columns), anchors in zip(featmap_sizes, self.num_base_priors)
        ]

    def __repr__(self) -> str:
        """Layout, input size and anchors per cell."""
        return (
            f'{type(self).__name__}(input_size={self.input_size}, '
            f'layout={self.layout!r}, num_base_priors={self.num_base_priors})'
        )
