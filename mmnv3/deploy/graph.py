"""A model of mmdet, mmseg or mmpretrain as a plain module that can be exported.

What the toolboxes do outside the network and every runtime can do inside it moves into
the graph: boxes are decoded and clipped, scores are probabilities, and maps of classes
have the picture's size. Batch normalisation is folded into the kernels once for good.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import torch
from mmcv.cnn import fuse_conv_bn
from mmdet.models.dense_heads import SSDHead
from mmseg.models import EncoderDecoder
from mmseg.models.decode_heads.decode_head import BaseDecodeHead
from torch import Tensor, nn
from torch.nn import functional as F

from mmnv3.deploy.info import FINAL_OUTPUTS, OUTPUTS, PLAIN, ModelInfo
from mmnv3.engine.build import output_tensors
from mmnv3.errors import UserError
from mmnv3.models.nms import static_nms, suppression
from mmnv3.models.ssdlite import anchor_size, flatten_maps
from mmnv3.size import Size
from mmnv3.tasks import CLASSIFICATION, DETECTION, SEGMENTATION

if TYPE_CHECKING:  # Python has it from 3.11 on.
    from typing_extensions import Self

# Height and width of the windows that a picture is seen in, and of their steps.
Windows = tuple[tuple[int, int], tuple[int, int]]


class _Graph(nn.Module):
    """What all graphs share: the network that they run, and what it computes in."""

    # Of whatever class; its parts are the toolbox's.
    model: Any
    # What it computes in, but for the decoding of boxes, probabilities and resizing,
    # for which bfloat16's eight bits are too few.
    dtype: torch.dtype = torch.float32

    def in_precision(self, precision: str) -> Self:
        """The graph itself, or for ``'bf16'`` a copy that computes in bfloat16."""
        if precision != 'bf16':
            return self
        # Buffers of the graph, as anchors, stay as they are.
        found = copy.deepcopy(self)
        found.dtype = torch.bfloat16
        found.model.to(found.dtype)
        return found

    def narrow(self, inputs: Tensor) -> Tensor:
        """An input in what the model computes in."""
        # Where nothing is to be converted there is no operation.
        return inputs if inputs.dtype == self.dtype else inputs.to(self.dtype)


class ExportGraph(_Graph):
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

    def features(self, image: Tensor) -> Any:
        """What the model's head takes, of normalised pictures, (N, 3, H, W)."""
        return self.model.extract_feat(self.narrow(image))

    def widen(self, found: Tensor) -> Tensor:
        """An output of the head in single precision."""
        return found if found.dtype == torch.float32 else found.float()


class DetectionGraph(ExportGraph):
    """A single-stage detector with an SSD head; see :class:`ExportGraph`.

    Raises:
        UserError: When its anchors are laid out for another size, or when several
            pictures should be suppressed inside.
    """

    task = DETECTION
    priors: Tensor
    limits: Tensor

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
        expected = anchor_size(head.prior_generator)
        if expected and size != expected:
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
        # Read here, since PyTorch 2.6 does not trace through a ConfigDict.
        self.clips_late = head.test_cfg.get('clip_after_nms', False)
        self.suppression = (
            suppression(head.test_cfg, Size(*size)) if postprocess else {}
        )

    @property
    def num_classes(self) -> int:
        """Classes of the scores, without background."""
        return self.model.bbox_head.num_classes

    def forward(self, image: Tensor) -> tuple[Tensor, ...]:
        """Detects.

        Args:
            image: Normalised pictures, (N, 3, H, W).

        Returns:
            Before suppression, the boxes of all anchors, x1 y1 x2 y2 in pixels, inside
            the picture unless they are clipped afterwards, (N, A, 4), and
            probabilities, (N, A, num_classes). With ``postprocess``, what
            :func:`mmnv3.models.nms.static_nms` returns.
        """
        head = self.model.bbox_head
        score_maps, box_maps = head(self.features(image))
        logits = self.widen(flatten_maps(score_maps, head.cls_out_channels))
        scores = (
            logits.sigmoid() if head.use_sigmoid_cls else logits.softmax(-1)[..., :-1]
        )
        deltas = self.widen(flatten_maps(box_maps, head.bbox_coder.encode_size))
        priors = self.priors.repeat(len(image), 1) if self.batch > 1 else self.priors
        # The coder's own clipping writes into slices, which exports badly.
        boxes = head.bbox_coder.decode(priors, deltas.flatten(0, 1))
        if not self.clips_late:
            boxes = boxes.clamp(min=0).minimum(self.limits)
        boxes = boxes.view(len(image), -1, 4)
        if not self.postprocess:
            return boxes, scores
        return static_nms(boxes[0], scores[0], **self.suppression)


class SegmentationGraph(ExportGraph):
    """An encoder-decoder of mmseg, whole or by windows; see :class:`ExportGraph`.

    Raises:
        UserError: When its config tests pictures in another way.
    """

    task = SEGMENTATION

    def __init__(
        self,
        model: nn.Module,
        size: tuple[int, int],
        batch: int = 1,
        postprocess: bool = False,
    ) -> None:
        super().__init__(model, size, batch, postprocess)
        settings: Mapping = getattr(model, 'test_cfg', None) or {}
        mode = settings.get('mode', 'whole')
        if mode not in ('whole', 'slide'):
            raise UserError(
                f'model.test_cfg.mode={mode!r} cannot be exported; whole and slide can'
            )
        self.windows: Windows | None = (
            (settings['crop_size'], settings['stride']) if mode == 'slide' else None
        )

    @property
    def num_classes(self) -> int:
        """Classes of the masks."""
        return self.model.decode_head.num_classes

    @property
    def mask_threshold(self) -> float | None:
        """Probability from which a single logit means the second of two classes."""
        head = self.model.decode_head
        return head.threshold if head.out_channels == 1 else None

    def forward(self, image: Tensor) -> Tensor:
        """Maps normalised pictures, (N, 3, H, W), to classes.

        Returns:
            Logits, (N, C, H, W), or with ``postprocess`` the best class of every
            pixel, (N, H, W) int32, and -1 for all of a picture with a logit of NaN. C
            is the number of classes, or 1 for two.
        """
        if self.windows:
            logits = small = self._slide(image, self.windows)
        else:
            small = self._small(image)
            logits = self._enlarged(small, image)
        return self.best_classes(logits, small) if self.postprocess else logits

    def best_classes(self, logits: Tensor, small: Tensor) -> Tensor:
        """The best class of every pixel; see :meth:`forward`.

        Args:
            logits: (N, C, H, W).
            small: What they were interpolated from, whose NaN are sooner found.
        """
        if self.mask_threshold is None:
            mask = logits.argmax(1).int()
        else:
            mask = (logits[:, 0].sigmoid() > self.mask_threshold).int()
        # Runtimes differ in what is greater than NaN, but not in sums.
        sick = small.sum((1, 2, 3)).isnan()
        return mask.masked_fill(sick.view(-1, 1, 1), -1)

    def _small(self, image: Tensor) -> Tensor:
        """The head's logits, at its stride."""
        return self.widen(self.model.decode_head(self.features(image)))

    def _enlarged(self, small: Tensor, image: Tensor) -> Tensor:
        return F.interpolate(
            small,
            size=image.shape[-2:],
            mode='bilinear',
            align_corners=self.model.decode_head.align_corners,
        )

    def _slide(self, image: Tensor, windows: Windows) -> Tensor:
        """The mean of the logits of overlapping windows, as mmseg takes it."""
        height, width = image.shape[-2:]
        (tall, wide), (down, right) = windows
        rows = _spans(height, tall, down)
        columns = _spans(width, wide, right)
        total = image.new_zeros(())
        for top, bottom in rows:
            for left, end in columns:
                window = image[..., top:bottom, left:end]
                logits = self._enlarged(self._small(window), window)
                total = total + F.pad(logits, (left, width - end, top, height - bottom))
        counts = _cover(rows, height)[:, None] * _cover(columns, width)
        return total / counts.to(total)


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
        logits = self.widen(self.model.head(self.features(image)))
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


def _is_ssd(model: nn.Module) -> bool:
    """Whether a head's outputs and anchors are what `DetectionGraph` reads."""
    return isinstance(model.bbox_head, SSDHead)


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


def _spans(length: int, window: int, stride: int) -> list[tuple[int, int]]:
    """Where windows begin and end along a side, the last one at its end."""
    count = max(length - window + stride - 1, 0) // stride + 1
    ends = (min(index * stride + window, length) for index in range(count))
    return [(max(end - window, 0), end) for end in ends]


def _cover(spans: list[tuple[int, int]], length: int) -> Tensor:
    """How many windows see each place along a side."""
    return torch.tensor(
        [float(sum(a <= at < b for a, b in spans)) for at in range(length)]
    )


class PlainGraph(_Graph):
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
        self.model = fuse_conv_bn(module)
        self.eval().requires_grad_(False)

    def example(self) -> Tensor:
        """An input."""
        return torch.zeros(self.shape)

    def forward(self, x: Tensor) -> Tensor:
        """Runs the module; several outputs become one, (1, numbers)."""
        found = [
            output if output.dtype != torch.bfloat16 else output.float()
            for output in output_tensors(self.model(self.narrow(x)))
        ]
        if len(found) == 1:
            return found[0]
        return torch.cat([output.flatten(1) for output in found], dim=1)


def plain_info(graph: PlainGraph, precision: str = 'fp32') -> ModelInfo:
    """The description of a plain graph: its input's shape, and nothing else.

    Args:
        graph: The graph.
        precision: One of :data:`mmnv3.deploy.info.PRECISIONS`.
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
