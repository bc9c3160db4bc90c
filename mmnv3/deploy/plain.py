"""Networks and layers that are exported for nothing but to be timed."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
from mmcv.cnn import fuse_conv_bn
from torch import Tensor, nn

from mmnv3.deploy.info import OUTPUTS, PLAIN, ModelInfo


class PlainGraph(nn.Module):
    """Any module of one input, with its normalisation folded; see ``ExportGraph``.

    Args:
        module: Returns tensors, in whatever lists. It is changed.
        shape: Of the input.
    """

    task = PLAIN
    outputs = OUTPUTS[PLAIN]

    def __init__(self, module: nn.Module, shape: tuple[int, ...]) -> None:
        super().__init__()
        self.shape = shape
        self.module = fuse_conv_bn(module)
        self.eval().requires_grad_(False)

    def example(self) -> Tensor:
        """An input."""
        return torch.zeros(self.shape)

    def forward(self, x: Tensor) -> Tensor:
        """Runs the module; several outputs become one, (1, numbers)."""
        found = list(_tensors(self.module(x)))
        if len(found) == 1:
            return found[0]
        return torch.cat([output.flatten(1) for output in found], dim=1)


def _tensors(found: Any) -> Iterator[Tensor]:
    if isinstance(found, Tensor):
        yield found
        return
    for part in found:
        yield from _tensors(part)


def plain_info(graph: PlainGraph, precision: str = 'fp32') -> ModelInfo:
    """The description of a plain graph: its input's shape, and nothing else.

    Args:
        graph: The graph.
        precision: ``'fp32'`` or ``'int8'``.
    """
    return ModelInfo(
        task=PLAIN,
        classes=(),
        input_shape=graph.shape,
        mean=(),
        std=(),
        channel_order='rgb',
        precision=precision,
    )
