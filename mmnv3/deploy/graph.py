"""A model of mmdet, mmseg or mmpretrain as a plain module that can be exported.

What the toolboxes do outside the network and every runtime can do inside it moves into
the graph: boxes are decoded and clipped, scores are probabilities, and maps of classes
have the picture's size. Batch normalisation is folded into the kernels once for good.
"""

from __future__ import annotations

import copy

import torch
from mmcv.cnn import fuse_conv_bn
from mmdet.models.dense_heads import SSDHead
from torch import Tensor, nn
from torch.nn import functional as F

from mmnv3.deploy.info import CLASSIFICATION, DETECTION, OUTPUTS, SEGMENTATION
from mmnv3.errors import UserError


class ExportGraph(nn.Module):
    """A network for one picture of one size.

    Args:
        model: A built model, which stays as it is: the graph works on a copy.
        size: Pixels of the input, (width, height).

    Raises:
        UserError: When the model cannot take that size.
    """

    task: str

    def __init__(self, model: nn.Module, size: tuple[int, int]) -> None:
        super().__init__()
        self.size = size
        self.model = fuse_conv_bn(copy.deepcopy(model).cpu())
        self.eval().requires_grad_(False)

    @property
    def num_classes(self) -> int:
        """Classes of the outputs."""
        raise NotImplementedError

    @property
    def outputs(self) -> tuple[str, ...]:
        """Names of the outputs, in their order."""
        return OUTPUTS[self.task]

    def example(self) -> Tensor:
        """An input, (1, 3, H, W)."""
        width, height = self.size
        return torch.zeros(1, 3, height, width)


class DetectionGraph(ExportGraph):
    """A single-stage detector with an SSD head; see :class:`ExportGraph`.

    Raises:
        UserError: When its anchors are laid out for another size.
    """

    task = DETECTION

    def __init__(self, model: nn.Module, size: tuple[int, int]) -> None:
        super().__init__(model, size)
        head = self.model.bbox_head
        expected = anchor_size(model)
        if size != expected:
            raise UserError(
                f'the anchors are laid out for {"x".join(map(str, expected))}, not '
                f'{"x".join(map(str, size))}; leave the size out, or set '
                'model.bbox_head.anchor_generator.input_size as well'
            )
        with torch.no_grad():
            maps, _ = head(self.model.extract_feat(self.example()))
        priors = head.prior_generator.grid_priors(
            [level.shape[-2:] for level in maps], device='cpu'
        )
        self.register_buffer('priors', torch.cat(priors))
        self.register_buffer('limits', torch.tensor([*size, *size]).float())

    @property
    def num_classes(self) -> int:
        """Classes of the scores, without background."""
        return self.model.bbox_head.num_classes

    def forward(self, image: Tensor) -> tuple[Tensor, Tensor]:
        """Detects, before suppression.

        Args:
            image: Normalised, (1, 3, H, W).

        Returns:
            Boxes as x1, y1, x2, y2 in pixels of the input, (1, N, 4), and
            probabilities, (1, N, num_classes).
        """
        head = self.model.bbox_head
        score_maps, box_maps = head(self.model.extract_feat(image))
        logits = _flatten(score_maps, head.cls_out_channels)
        scores = (
            logits.sigmoid() if head.use_sigmoid_cls else logits.softmax(-1)[..., :-1]
        )
        deltas = _flatten(box_maps, head.bbox_coder.encode_size)
        # The coder's own clipping writes into slices, which exports badly.
        boxes = head.bbox_coder.decode(self.priors, deltas[0])
        return boxes.clamp(min=0).minimum(self.limits)[None], scores


class SegmentationGraph(ExportGraph):
    """An encoder-decoder of mmseg; see :class:`ExportGraph`."""

    task = SEGMENTATION

    @property
    def num_classes(self) -> int:
        """Classes of the logits."""
        return self.model.decode_head.num_classes

    def forward(self, image: Tensor) -> Tensor:
        """Maps a normalised picture, (1, 3, H, W), to logits (1, classes, H, W)."""
        head = self.model.decode_head
        width, height = self.size
        return F.interpolate(
            head(self.model.extract_feat(image)),
            size=(height, width),
            mode='bilinear',
            align_corners=head.align_corners,
        )


class ClassificationGraph(ExportGraph):
    """A classifier of mmpretrain; see :class:`ExportGraph`."""

    task = CLASSIFICATION

    @property
    def num_classes(self) -> int:
        """Classes of the logits."""
        return self.model.head.num_classes

    def forward(self, image: Tensor) -> Tensor:
        """Maps a normalised picture, (1, 3, H, W), to logits (1, classes)."""
        return self.model.head(self.model.extract_feat(image))


# The part that tells the toolboxes' models apart.
_GRAPHS = {
    'bbox_head': DetectionGraph,
    'decode_head': SegmentationGraph,
    'head': ClassificationGraph,
}


def graph_class(model: nn.Module) -> type[ExportGraph]:
    """The graph that suits a model.

    Raises:
        UserError: When none does.
    """
    part = next((part for part in _GRAPHS if hasattr(model, part)), None)
    if part is None or (part == 'bbox_head' and not _is_ssd(model.bbox_head)):
        raise UserError(
            f'{type(model).__name__} cannot be exported; detectors with an SSD or '
            'SSDLite head, encoder-decoders of mmseg and classifiers of mmpretrain can'
        )
    return _GRAPHS[part]


def build_graph(model: nn.Module, size: tuple[int, int]) -> ExportGraph:
    """Turns a model into a module that maps a normalised picture to named tensors.

    Args:
        model: A detector with an SSD or SSDLite head, an encoder-decoder of mmseg, or
            a classifier of mmpretrain. It stays as it is.
        size: Pixels of the input, (width, height).

    Returns:
        A module in eval mode without gradients; its ``outputs`` name what its
        ``forward`` returns.

    Raises:
        UserError: For another model, or a detector whose anchors are for another size.
    """
    return graph_class(model)(model, size)


def anchor_size(detector: nn.Module) -> tuple[int, int]:
    """The input, (width, height), that a detector's anchors are laid out for."""
    size = detector.bbox_head.prior_generator.input_size
    return (size, size) if isinstance(size, int) else tuple(size)


def _is_ssd(head: nn.Module) -> bool:
    """Whether a head's outputs and anchors are what `DetectionGraph` reads."""
    return isinstance(head, SSDHead) and hasattr(head.prior_generator, 'input_size')


def _flatten(maps: list[Tensor], size: int) -> Tensor:
    """Joins (1, A * size, H, W) maps of all levels into (1, anchors, size)."""
    return torch.cat(
        [level.permute(0, 2, 3, 1).reshape(1, -1, size) for level in maps], dim=1
    )
