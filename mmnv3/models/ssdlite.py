"""SSDLite: the neck, the anchors, the loss and the head of the detector."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import torch
from mmdet.models.dense_heads import SSDHead
from mmdet.models.necks import SSDNeck
from mmdet.models.task_modules.coders import DeltaXYWHBBoxCoder
from mmdet.models.task_modules.prior_generators import AnchorGenerator
from mmengine.structures import InstanceData
from torch import Tensor, nn
from torch.autograd import Function
from torch.autograd.function import once_differentiable
from torch.nn import functional as F

from mmnv3.arch import (
    backbone_taps,
    check_choice,
    check_count,
    check_counts,
    check_positive,
    ssdlite_levels,
)
from mmnv3.arch.follow import EXTRA_CHANNELS
from mmnv3.errors import UserError
from mmnv3.models.layers import check_norm, same_conv_cfg, small_batch_norm_cfg
from mmnv3.models.nms import progressive_nms, suppression
from mmnv3.registry import MODELS, TASK_UTILS
from mmnv3.size import Size

# What the defaults fit: the paper's detector.
_TAPS = tuple(
    tap.channels for tap in backbone_taps(dict(tail='detection', out_taps=('C4', 'C5')))
)
_NORM_CFG = dict(type='BN', eps=1e-3, momentum=0.03)


@MODELS.register_module()
class SSDLiteNeck(SSDNeck):
    """Passes the backbone's taps on and adds four smaller levels.

    Each extra level is a 1×1 convolution to half its width, a 3×3 depthwise one of
    stride 2 and a 1×1 one, all with normalisation and ReLU6 (the Object Detection
    API's ``multi_resolution_feature_maps`` with the V3 extractor).

    Args:
        in_channels: Channels of the taps; C4 and C5 of the Large network with its
            detection tail by default.
        extra_channels: Channels of the extra levels.
        width: Multiplier of the extra levels, which get at least 16 channels.
        padding: ``'same'`` as TensorFlow pads, or ``'symmetric'``.
        norm_cfg: Normalisation.
        init_cfg: Initialisation; N(0, 0.03) by default.
    """

    def __init__(
        self,
        in_channels: Sequence[int] = _TAPS,
        extra_channels: Sequence[int] = EXTRA_CHANNELS,
        width: float = 1.0,
        padding: str = 'same',
        norm_cfg: dict | None = None,
        init_cfg: dict | list[dict] | None = None,
    ) -> None:
        check_norm(norm_cfg or _NORM_CFG)
        levels = ssdlite_levels(in_channels, extra_channels, width)
        super().__init__(
            in_channels=tuple(in_channels),
            out_channels=levels,
            level_strides=(2,) * len(extra_channels),
            level_paddings=(1,) * len(extra_channels),
            l2_norm_scale=None,
            use_depthwise=True,
            conv_cfg=same_conv_cfg(padding),
            norm_cfg=small_batch_norm_cfg(norm_cfg or _NORM_CFG),
            act_cfg=dict(type='ReLU6'),
            init_cfg=init_cfg or dict(type='TruncNormal', layer='Conv2d', std=0.03),
        )
        self.out_channels: tuple[int, ...] = levels


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
    scales by the input's shorter side and lets anchors reach outside, as 938 of the
    paper's 2034 do; ``'torchvision'`` measures widths by its width and heights by its
    height, and clips widths and heights.

    Args:
        input_size: Pixels of the network's input, one number or (width, height) as in
            mmdet's ``Resize``.
        layout: ``'tensorflow'`` (the paper's, 2034 anchors at 320) or
            ``'torchvision'`` (3234).
        num_levels: Feature levels.
        min_scale: Scale of the first level, a fraction of the input.
        max_scale: Scale of the last level.
        clip: Whether an anchor's corners are clipped to the input, as mmnv3 0.1 did:
            for detectors that were trained so.

    Raises:
        UserError: For an unknown layout or a size that is not positive.
    """

    def __init__(
        self,
        input_size: int | Sequence[int] = 320,
        layout: str = 'tensorflow',
        num_levels: int = 6,
        min_scale: float = 0.2,
        max_scale: float = 0.95,
        clip: bool = False,
    ) -> None:
        check_choice('layout', layout, _SHAPES)
        self.clip = clip
        self.input_size = Size.of(input_size, 'input_size')
        self.layout = layout
        check_positive('max_scale', max_scale, 1)
        check_positive('min_scale', min_scale, max_scale)
        check_count('num_levels', num_levels)
        if num_levels < 2:
            raise UserError(f'num_levels={num_levels} must be at least 2')
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
        rows, columns = map(int, featmap_size)
        key = (rows, columns, level_idx, dtype, str(device))
        if key not in self._grids:
            self._grids[key] = self._grid(rows, columns, level_idx).to(device, dtype)
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
        if self.clip:
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
            f'{type(self).__name__}(input_size={tuple(self.input_size)}, '
            f'layout={self.layout!r}, num_base_priors={self.num_base_priors})'
        )


def anchor_size(generator: AnchorGenerator) -> Size | None:
    """The input that anchors are laid out for; None where they fit every one."""
    size = getattr(generator, 'input_size', None)
    return Size.of(size, 'anchor_generator.input_size') if size else None


@TASK_UTILS.register_module()
class UnboundedBoxCoder(DeltaXYWHBBoxCoder):
    """mmdet's coder without its bound on how much larger than its anchor a box may be.

    The Object Detection API's ``faster_rcnn_box_coder`` has none. Takes the arguments
    of ``DeltaXYWHBBoxCoder``.
    """

    def decode(
        self,
        bboxes: Tensor,
        pred_bboxes: Tensor,
        max_shape: Sequence[int] | None = None,
        # A factor of 1e30, the last that a float32 can hold for certain.
        wh_ratio_clip: float = 1e-30,
    ) -> Tensor:
        """Boxes, (N, 4), of anchors and their codes; see ``DeltaXYWHBBoxCoder``."""
        return super().decode(bboxes, pred_bboxes, max_shape, wh_ratio_clip)


@MODELS.register_module()
class SigmoidFocalLoss(nn.Module):
    """Focal loss over independent classes without a background class.

    mmdet's ``FocalLoss`` needs mmcv's compiled operator on a GPU; this needs none.

    Args:
        alpha: Weight of positives; negatives weigh ``1 - alpha``. The pipeline config
            of the paper's detector has 0.75.
        gamma: How strongly easy examples are played down.
        loss_weight: Factor of the result.
    """

    use_sigmoid = True

    def __init__(
        self, alpha: float = 0.75, gamma: float = 2.0, loss_weight: float = 1.0
    ) -> None:
        super().__init__()
        self.alpha = alpha
        self.gamma = gamma
        self.loss_weight = loss_weight

    def forward(
        self, pred: Tensor, target: Tensor, weight: Tensor, avg_factor: float
    ) -> Tensor:
        """Computes the loss.

        Args:
            pred: Logits, (N, C).
            target: Class indices, (N,); C is background.
            weight: Weight of each row, (N,).
            avg_factor: What the sum is divided by.

        Returns:
            A scalar.
        """
        # bfloat16 and float16 would lose what is summed here.
        pred = pred.float() if pred.itemsize < 4 else pred
        classes = pred.size(1)
        classes, gamma = pred.size(1), self.gamma
        # Nearly all of the numbers are of classes that are not there, so that all are
        # taken for such, and the others mended.
        there = pred.gather(1, target.clamp(max=classes - 1)[:, None])[:, 0]
        mended = self.alpha * (-there).sigmoid().pow(gamma) * F.softplus(-there)
        taken = (1 - self.alpha) * there.sigmoid().pow(gamma) * F.softplus(there)
        losses = (1 - self.alpha) * _AbsentClasses.apply(pred, gamma)
        losses = losses + (mended - taken) * (target < classes)
        return self.loss_weight * (losses * weight).sum() / avg_factor


class _AbsentClasses(Function):
    """Sums pᵞ · softplus(x) over a row's logits x, where p is sigmoid(x).

    That is the focal loss of classes that are not there, but for its factor. Its
    gradient pᵞ · (γ · (1 - p) · softplus(x) + p) takes half of the passes over all
    logits that autograd makes of it.
    """

    @staticmethod
    def forward(ctx: Any, logits: Tensor, gamma: float) -> Tensor:
        """Maps (N, C) to (N,)."""
        p, softplus = logits.sigmoid(), F.softplus(logits)
        power = p.pow(gamma)
        ctx.save_for_backward(p, softplus, power)
        ctx.gamma = gamma
        return (power * softplus).sum(1)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None]:
        """Maps (N,) to (N, C)."""
        p, softplus, power = ctx.saved_tensors
        slope = torch.sub(1, p).mul_(softplus).mul_(ctx.gamma).add_(p).mul_(power)
        return slope.mul_(grad[:, None]), None


_TRAIN_CFG = dict(
    assigner=dict(
        type='mmdet.MaxIoUAssigner',
        # The assigner's own default has no prefix, and fails under other scopes.
        iou_calculator=dict(type='mmdet.BboxOverlaps2D'),
        pos_iou_thr=0.5,
        neg_iou_thr=0.5,
        min_pos_iou=0.0,
        ignore_iof_thr=-1,
        gt_max_assign_all=False,
    ),
    sampler=dict(type='mmdet.PseudoSampler'),
    smoothl1_beta=1.0,
    allowed_border=-1,
    pos_weight=-1,
    neg_pos_ratio=3,
)
_TEST_CFG = dict(
    nms=dict(type='nms', iou_threshold=0.6),
    score_thr=1e-8,
    max_per_img=100,
    clip_after_nms=True,
)


@MODELS.register_module()
class SSDLiteHead(SSDHead):
    """Depthwise predictors on every level, and two recipes to train them.

    With a sigmoid ``loss_cls`` (the default, the paper's pipeline config) there is no
    background class, every anchor counts, and ``loss_bbox`` is used. With
    ``loss_cls=None`` it is SSD's softmax with hard negatives and smooth L1, as in mmdet
    and torchvision; the background is then the last class. Both divide by the number of
    matched anchors of the batch.

    Post-processing suppresses class by class in one pass and stops early, with the
    same result (see :mod:`mmnv3.models.nms`). ``test_cfg``
    takes mmdet's ``score_thr``, ``nms``, ``max_per_img`` and ``min_bbox_size``;
    ``nms_pre_per_class``, the most candidates of one class (torchvision's
    ``topk_candidates``); and ``clip_after_nms``, whether boxes are suppressed as they
    reach out of the picture and clipped afterwards, as the Object Detection API does,
    and not before, as mmdet and torchvision do. mmdet's ``nms_pre``, a limit per level
    that exists to save time, is used where another suppression than plain ``'nms'`` is
    configured.

    Args:
        num_classes: Classes without background.
        in_channels: Channels of the levels; what ``SSDLiteNeck()`` returns by default.
        anchor_generator: A ``SSDLiteAnchorGenerator`` by default; its ``input_size``
            must be the network's. mmdet's generators do as well.
        loss_cls: A sigmoid loss over classes, or None.
        loss_bbox: Box loss beside a sigmoid one; by default smooth L1 with the pipeline
            config's division by the four numbers of a box.
        reg_decoded_bbox: Whether the box loss sees boxes in pixels, as IoU losses
            want, and not their codes.
        prior_prob: The probability that a sigmoid classifier gives every class at
            first; 0.01 is the pipeline config's bias of -4.6.
        norm_cfg: Normalisation.
        bbox_coder: Box coder; by default with the paper's factors 10, 10, 5, 5, and
            beside a sigmoid ``loss_cls`` without a bound on the boxes' sizes.
        train_cfg: Matching and sampling; by default IoU 0.5 with the best anchor of
            every object forced.
        test_cfg: Post-processing; by default the pipeline config's.
        init_cfg: Initialisation; N(0, 0.03) by default.
        stacked_convs: Depthwise separable convolutions in front of the predictors, as
            in mmdet's ``SSDHead``; the paper has none.
        feat_channels: Of these convolutions.
        act_cfg: Activation; ReLU6 by default.
        use_depthwise: Always True, as configs of mmdet's SSDLite say.

    Raises:
        UserError: For ``use_depthwise=False``, or another number of levels than the
            anchors have.
    """

    def __init__(
        self,
        num_classes: int = 80,
        in_channels: Sequence[int] = ssdlite_levels(_TAPS),
        anchor_generator: dict | None = None,
        loss_cls: dict | None = dict(type='mmnv3.SigmoidFocalLoss'),  # noqa: B006
        loss_bbox: dict | None = None,
        reg_decoded_bbox: bool = False,
        prior_prob: float = 0.01,
        norm_cfg: dict | None = None,
        bbox_coder: dict | None = None,
        train_cfg: dict | None = None,
        test_cfg: dict | None = None,
        init_cfg: dict | list[dict] | None = None,
        stacked_convs: int = 0,
        feat_channels: int = 256,
        act_cfg: dict | None = None,
        use_depthwise: bool = True,
    ) -> None:
        if not use_depthwise:
            raise UserError(
                'the predictors of SSDLiteHead are depthwise; leave out '
                'use_depthwise=False, or use mmdet.SSDHead'
            )
        # SSDHead builds its layers in its constructor and would give them a background
        # class, so ours must know before whether there is one.
        self._has_background = loss_cls is None
        check_count('num_classes', num_classes)
        check_counts('in_channels', in_channels)
        check_positive('prior_prob', prior_prob, 1)
        check_norm(norm_cfg or _NORM_CFG)
        super().__init__(
            num_classes=num_classes,
            in_channels=tuple(in_channels),
            stacked_convs=stacked_convs,
            feat_channels=feat_channels,
            use_depthwise=True,
            norm_cfg=small_batch_norm_cfg(norm_cfg or _NORM_CFG),
            act_cfg=act_cfg or dict(type='ReLU6'),
            anchor_generator=(
                anchor_generator or dict(type='mmnv3.SSDLiteAnchorGenerator')
            ),
            bbox_coder=bbox_coder
            or dict(
                type='mmdet.DeltaXYWHBBoxCoder'
                if self._has_background
                else 'mmnv3.UnboundedBoxCoder',
                target_stds=(0.1, 0.1, 0.2, 0.2),
            ),
            reg_decoded_bbox=reg_decoded_bbox,
            train_cfg=train_cfg or _TRAIN_CFG,
            test_cfg=test_cfg or _TEST_CFG,
            init_cfg=init_cfg or dict(type='Normal', layer='Conv2d', std=0.03),
        )
        if len(self.in_channels) != self.prior_generator.num_levels:
            raise UserError(
                f'in_channels has {len(self.in_channels)} levels and anchor_generator '
                f'{self.prior_generator.num_levels}; give both the same number'
            )
        self.prior_prob = prior_prob
        self.use_sigmoid_cls = not self._has_background
        # mmdet 3.3.0 and onedl-mmdetection 3.5.1 read `loss_cls` when they predict,
        # and their SSDHead never sets it (mmdetection#11063).
        self.loss_cls = MODELS.build(loss_cls) if loss_cls else None
        self.loss_bbox = MODELS.build(
            loss_bbox or dict(type='mmdet.SmoothL1Loss', beta=1.0, loss_weight=1 / 4)
        )

    def _init_layers(self) -> None:
        self.cls_out_channels = self.num_classes + self._has_background
        super()._init_layers()

    def init_weights(self) -> None:
        """Initialises; a sigmoid classifier starts from rare objects."""
        super().init_weights()
        if self.use_sigmoid_cls:
            bias = _logit(self.prior_prob)
            for convs in self.cls_convs:
                nn.init.constant_(convs[-1].bias, bias)

    def get_anchors(
        self,
        featmap_sizes: list[tuple[int, int]],
        batch_img_metas: list[dict],
        device: torch.device | str = 'cuda',
    ) -> tuple[list[list[Tensor]], list[list[Tensor]]]:
        """Anchors and their validity; see ``AnchorHead.get_anchors``.

        Raises:
            UserError: When the images are not as large as the anchors believe.
        """
        self._check_size(batch_img_metas[0])
        return super().get_anchors(featmap_sizes, batch_img_metas, device)

    def _check_size(self, img_meta: dict) -> None:
        height, width = img_meta.get(
            'batch_input_shape', img_meta.get('pad_shape', img_meta['img_shape'])
        )[:2]
        expected = anchor_size(self.prior_generator)
        if expected in (None, (width, height)):
            return
        remedy = (
            f'set it to ({width}, {height})'
            if isinstance(self.prior_generator, SSDLiteAnchorGenerator)
            else f'resize pictures to {expected}, or give min_sizes and max_sizes'
        )
        raise UserError(
            f'the network got an input of {width}x{height}, but anchor_generator '
            f'has input_size={tuple(expected)}; {remedy}'
        )

    def loss_by_feat_single(
        self,
        cls_score: Tensor,
        bbox_pred: Tensor,
        anchor: Tensor,
        *targets: Tensor,
        avg_factor: int,
    ) -> tuple[Tensor, Tensor]:
        """Losses of one image.

        Args:
            cls_score: Logits, (A, cls_out_channels).
            bbox_pred: Encoded boxes, (A, 4).
            anchor: Anchors, (A, 4).
            *targets: Classes, (A,), where ``num_classes`` is background, and their
                weights, (A,); encoded boxes wanted, (A, 4), and their weights, (A, 4),
                zero for background.
            avg_factor: Matched anchors in the batch.

        Returns:
            Classification and box loss.
        """
        if self.loss_cls is None:
            return super().loss_by_feat_single(
                cls_score, bbox_pred, anchor, *targets, avg_factor=avg_factor
            )
        labels, label_weights, bbox_targets, bbox_weights = targets
        loss_cls = self.loss_cls(cls_score, labels, label_weights, avg_factor)
        if self.reg_decoded_bbox:
            bbox_pred = self.bbox_coder.decode(anchor, bbox_pred)
        loss_bbox = self.loss_bbox(
            bbox_pred, bbox_targets, bbox_weights, avg_factor=avg_factor
        )
        return loss_cls[None], loss_bbox

    def _predict_by_feat_single(
        self,
        cls_score_list: list[Tensor],
        bbox_pred_list: list[Tensor],
        score_factor_list: list[Tensor | None],
        mlvl_priors: list[Tensor],
        img_meta: dict,
        cfg: dict | None,
        rescale: bool = False,
        with_nms: bool = True,
    ) -> InstanceData:
        """Detections of one image from its maps; see ``BaseDenseHead``.

        ``predict_by_feat``, which deployment tools rewrite, stays mmdet's.
        """
        self._check_size(img_meta)
        cfg = self.test_cfg if cfg is None else cfg
        nms = {'type': 'nms', **cfg['nms']}
        plain = set(nms) == {'type', 'iou_threshold'} and nms['type'] == 'nms'
        if not (with_nms and plain) or cfg.get('min_bbox_size', -1) >= 0:
            maps = cls_score_list, bbox_pred_list, score_factor_list
            return super()._predict_by_feat_single(
                *maps, mlvl_priors, img_meta, cfg, rescale, with_nms
            )
        (logits,) = flatten_maps(
            [level[None] for level in cls_score_list], self.cls_out_channels
        )
        (deltas,) = flatten_maps(
            [level[None] for level in bbox_pred_list], self.bbox_coder.encode_size
        )
        scores = (
            logits.softmax(-1)[:, :-1] if self._has_background else logits.sigmoid()
        )
        priors = torch.cat(mlvl_priors)
        height, width = img_meta['img_shape'][:2]
        settings = suppression(cfg, Size(width, height))
        limits = None if settings['window'] else (height, width)

        def decode(index: Tensor) -> Tensor:
            return self.bbox_coder.decode(priors[index], deltas[index], limits)

        boxes, scores, labels = progressive_nms(scores, decode, **settings)
        results = InstanceData(bboxes=boxes, scores=scores, labels=labels)
        return self._bbox_post_process(
            results, cfg, rescale, with_nms=False, img_meta=img_meta
        )


def _logit(probability: float) -> float:
    """The logit, also of 0 and 1."""
    if not 0 < probability < 1:
        return -math.inf if probability <= 0 else math.inf
    return math.log(probability / (1 - probability))


def flatten_maps(maps: Sequence[Tensor], size: int) -> Tensor:
    """Joins (N, A * size, H, W) maps of all levels into (N, anchors, size)."""
    return torch.cat(
        [level.permute(0, 2, 3, 1).reshape(len(level), -1, size) for level in maps],
        dim=1,
    )
