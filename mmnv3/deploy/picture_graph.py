"""A graph that takes a picture as it is and says what is in it.

Whoever runs its file needs none of our code: before the network are the steps of the
test pipeline, behind it what :mod:`mmnv3.deploy.results` does with its outputs.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.export import Dim
from torch.nn import functional as F

from mmnv3.deploy.graph import ExportGraph, SegmentationGraph
from mmnv3.deploy.info import PICTURE_OUTPUTS, TOP, ModelInfo
from mmnv3.deploy.traced_resizing import Side, TracedSteps
from mmnv3.errors import UserError
from mmnv3.resizing import common_size
from mmnv3.size import Size
from mmnv3.tasks import DETECTION, SEGMENTATION

# The longest side of a picture, in pixels; OpenCV's functions stop there.
_LONGEST = 2**15 - 1
_BYTE = 255


class PictureGraph(nn.Module):
    """From a picture of any size to its result.

    Args:
        graph: What runs in between, for one picture: a detector that suppresses, and
            segmenters and classifiers that do not choose.
        info: What it takes, with ``takes_pictures``.

    Raises:
        UserError: When a graph cannot do what the config does to pictures.
    """

    mean: Tensor
    std: Tensor

    def __init__(self, graph: ExportGraph, info: ModelInfo) -> None:
        super().__init__()
        # Quantisers find what is of the network by this name.
        self.network = graph
        self.info = info
        self.task = graph.task
        self.steps = TracedSteps.of(info.steps, info.size)
        content = tuple(step for step in info.steps if step is not self.steps.pad)
        if graph.task == SEGMENTATION and content != info.steps:
            if common_size(content) != info.size:
                raise UserError(
                    'the test pipeline pads pictures, which a file does not undo in a '
                    'mask; give Resize keep_ratio=False, or leave preprocessing out'
                )
        for name in ('mean', 'std'):
            values = torch.tensor(getattr(info, name))
            self.register_buffer(name, values.view(-1, 1, 1))
        self.eval().requires_grad_(False)

    @property
    def outputs(self) -> tuple[str, ...]:
        """Names of the outputs, in their order."""
        return PICTURE_OUTPUTS[self.task]

    @property
    def size(self) -> Size:
        """Pixels of the network's input."""
        return self.info.size

    def example(self) -> Tensor:
        """A picture, of other sides than the network's input."""
        width, height = self.size
        return torch.zeros(height + 1, width + 2, 3, dtype=torch.uint8)

    def dynamic_shapes(self) -> tuple[dict[int, Dim]]:
        """The sides of the picture that may have any length, for each input."""
        height, width = (Dim(n, min=1, max=_LONGEST) for n in ('height', 'width'))
        return ({0: height, 1: width},)

    def in_precision(self, precision: str) -> PictureGraph:
        """See :meth:`mmnv3.deploy.graph.ExportGraph.in_precision`."""
        network = self.network.in_precision(precision)
        return self if network is self.network else PictureGraph(network, self.info)

    def forward(self, image: Tensor) -> tuple[Tensor, ...] | Tensor:
        """Says what is in a picture.

        Args:
            image: (H, W, 3) uint8, RGB.

        Returns:
            Of a detector boxes, x1 y1 x2 y2 in the picture's pixels, (N, 4), their
            scores, (N,) falling, and classes, (N,) int32; the rest scores 0 where
            there are fewer than N. Of a segmenter the class of every pixel, (H, W)
            int32. Of a classifier the probabilities, (K,) falling, of the best classes,
            (K,) int32, where K is at most 5.
        """
        across, down = self.steps.sides(image)
        found = self.network(self._prepared(image, across, down))
        if self.task == DETECTION:
            boxes, scores, labels = (output[0] for output in found)
            scale = torch.stack(
                [
                    torch.as_tensor(side.kept).float()
                    / torch.as_tensor(side.given).float()
                    for side in (across, down)
                ]
            )
            return boxes / scale.repeat(2), scores, labels
        if isinstance(self.network, SegmentationGraph):
            logits = F.interpolate(
                found,
                size=image.shape[:2],
                mode='bilinear',
                align_corners=self.info.align_corners,
            )
            return self.network.best_classes(logits, found)[0]
        scores, labels = found[0].softmax(-1).topk(min(TOP, self.network.num_classes))
        return scores, labels.int()

    def _prepared(self, image: Tensor, across: Side, down: Side) -> Tensor:
        """As :func:`mmnv3.deploy.pipeline.prepare_picture`, (1, 3, height, width)."""
        pad, rgb = self.steps.pad, self.info.channel_order == 'rgb'
        pixels = self.steps(image, across, down)
        if not rgb:
            pixels = pixels.flip(-1)
        if pad and not pad.normalized:
            # The values are of BGR pictures, in whole numbers where those are.
            value = torch.tensor(pad.value)
            if self.steps.resize.backend != 'tensorflow':
                value = value.round().clamp(0, _BYTE)
            value = value.flip(0) if rgb else value
            pixels = pixels.where(~self.steps.padding(across, down), value)
        # Of interleaved pixels ONNX Runtime takes 20 times as long to normalise.
        pixels = pixels.permute(2, 0, 1)
        pixels = (pixels - self.mean) / self.std
        if pad and pad.normalized:
            padding = self.steps.padding(across, down).permute(2, 0, 1)
            pixels = pixels.masked_fill(padding, pad.value[0])
        return pixels[None]
