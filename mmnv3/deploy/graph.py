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
from mmseg.models import EncoderDecoder
from mmseg.models.decode_heads.decode_head import BaseDecodeHead
from torch import Tensor, nn
from torch.nn import functional as F

from mmnv3.deploy.info import (
    CLASSIFICATION,
    DETECTION,
    FINAL_OUTPUTS,
    OUTPUTS,
    SEGMENTATION,
)
from mmnv3.errors import UserError
from mmnv3.models.nms import static_nms
from mmnv3.models.ssdlite import flatten_maps


class ExportGraph(nn.Module):
    """A network for pictures of one size.

    Args:
        model: A built model, which stays as it is: the graph works on a copy.
        size: Pixels of the input, (width, height).
        batch: Pictures of one call.
        postprocess: Whether boxes are suppressed, or the best class is chosen, inside.

    Raises:
        UserError: When the model cannot take that size.
    """

    task: str

    def __init__(
        self,
        model: nn.Module,
        size: tuple[int, int],
        batch: int = 1,
        postprocess: bool = False,
    ) -> None:
        super().__init__()
        self.size = size
        self.batch = batch
        self.postprocess = postprocess
        self.model = fuse_conv_bn(copy.deepcopy(model).cpu())
        self.eval().requires_grad_(False)

    @property
    def num_classes(self) -> int:
        """Classes of the outputs."""
        raise NotImplementedError

    @property
    def outputs(self) -> tuple[str, ...]:
        """Names of the outputs, in their order."""
        return (FINAL_OUTPUTS if self.postprocess else OUTPUTS)[self.task]

    def example(self) -> Tensor:
        """An input, (batch, 3, H, W)."""
        width, height = self.size
        return torch.zeros(self.batch, 3, height, width)


class DetectionGraph(ExportGraph):
    """A single-stage detector with an SSD head; see :class:`ExportGraph`.

    Raises:
        UserError: When its anchors are laid out for another size, or when several
            pictures should be suppressed inside.
    """

    task = DETECTION

    def __init__(
        self,
        model: nn.Module,
        size: tuple[int, int],
        batch: int = 1,
        postprocess: bool = False,
    ) -> None:
        super().__init__(model, size, batch, postprocess)
        if postprocess and batch > 1:
            raise UserError(
                f'a detector for {batch} pictures a call cannot suppress inside; '
                'leave post-processing out, or take one picture a call'
            )
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

    def forward(self, image: Tensor) -> tuple[Tensor, ...]:
        """Detects.

        Args:
            image: Normalised pictures, (N, 3, H, W).

        Returns:
            Before suppression, the boxes of all anchors, x1 y1 x2 y2 in pixels inside
            the picture, (N, A, 4), and probabilities, (N, A, num_classes). With
            ``postprocess``, what :func:`mmnv3.models.nms.static_nms` returns.
        """
        head = self.model.bbox_head
        score_maps, box_maps = head(self.model.extract_feat(image))
        logits = flatten_maps(score_maps, head.cls_out_channels)
        scores = (
            logits.sigmoid() if head.use_sigmoid_cls else logits.softmax(-1)[..., :-1]
        )
        deltas = flatten_maps(box_maps, head.bbox_coder.encode_size)
        priors = self.priors.repeat(len(image), 1) if self.batch > 1 else self.priors
        # The coder's own clipping writes into slices, which exports badly.
        boxes = head.bbox_coder.decode(priors, deltas.flatten(0, 1))
        boxes = boxes.clamp(min=0).minimum(self.limits).view(len(image), -1, 4)
        if not self.postprocess:
            return boxes, scores
        settings = head.test_cfg
        return static_nms(
            boxes[0],
            scores[0],
            iou_threshold=settings['nms']['iou_threshold'],
            score_threshold=settings.get('score_thr', 0.0),
            max_num=settings['max_per_img'],
            per_class=settings.get('nms_pre_per_class', -1),
        )


class SegmentationGraph(ExportGraph):
    """An encoder-decoder of mmseg; see :class:`ExportGraph`."""

    task = SEGMENTATION

    @property
    def num_classes(self) -> int:
        """Classes of the logits."""
        return self.model.decode_head.num_classes

    def forward(self, image: Tensor) -> Tensor:
        """Maps normalised pictures, (N, 3, H, W), to classes.

        Returns:
            Logits, (N, num_classes, H, W), or with ``postprocess`` the best class of
            every pixel, (N, H, W) int32.
        """
        head = self.model.decode_head
        logits = F.interpolate(
            head(self.model.extract_feat(image)),
            size=image.shape[-2:],
            mode='bilinear',
            align_corners=head.align_corners,
        )
        return logits.argmax(1).int() if self.postprocess else logits


class ClassificationGraph(ExportGraph):
    """A classifier of mmpretrain; see :class:`ExportGraph`."""

    task = CLASSIFICATION

    @property
    def num_classes(self) -> int:
        """Classes of the logits."""
        return self.model.head.num_classes

    def forward(self, image: Tensor) -> Tensor:
        """Maps normalised pictures, (N, 3, H, W), to logits, (N, num_classes).

        With ``postprocess`` they are probabilities.
        """
        logits = self.model.head(self.model.extract_feat(image))
        return logits.softmax(-1) if self.postprocess else logits


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
    if part is None or not _PLAIN[part](model):
        raise UserError(
            f'{type(model).__name__} cannot be exported; detectors with an SSD or '
            'SSDLite head, encoder-decoders of mmseg with a plain head and classifiers '
            'of mmpretrain can'
        )
    return _GRAPHS[part]


def build_graph(
    model: nn.Module, size: tuple[int, int], batch: int = 1, postprocess: bool = False
) -> ExportGraph:
    """Turns a model into a module that maps normalised pictures to named tensors.

    Args:
        model: A detector with an SSD or SSDLite head, an encoder-decoder of mmseg, or
            a classifier of mmpretrain. It stays as it is.
        size: Pixels of the input, (width, height).
        batch: Pictures of one call.
        postprocess: Whether boxes are suppressed, or the best class is chosen, inside.

    Returns:
        A module in eval mode without gradients; its ``outputs`` name what its
        ``forward`` returns.

    Raises:
        UserError: For another model, or a detector whose anchors are for another size.
    """
    return graph_class(model)(model, size, batch, postprocess)


def anchor_size(detector: nn.Module) -> tuple[int, int]:
    """The input, (width, height), that a detector's anchors are laid out for."""
    size = detector.bbox_head.prior_generator.input_size
    return (size, size) if isinstance(size, int) else tuple(size)


def _is_ssd(model: nn.Module) -> bool:
    """Whether a head's outputs and anchors are what `DetectionGraph` reads."""
    head = model.bbox_head
    return isinstance(head, SSDHead) and hasattr(head.prior_generator, 'input_size')


def _is_encoder_decoder(model: nn.Module) -> bool:
    """Whether one head on one network is all that there is: no cascade, no rewiring."""
    head = model.decode_head
    return (
        type(model) is EncoderDecoder
        and isinstance(head, BaseDecodeHead)
        and type(head).predict is BaseDecodeHead.predict
    )


def _has_classes(model: nn.Module) -> bool:
    """Whether a classifier's head gives a score for each class."""
    return hasattr(model.head, 'num_classes')


_PLAIN = {
    'bbox_head': _is_ssd,
    'decode_head': _is_encoder_decoder,
    'head': _has_classes,
}
