"""The SSDLite head, with the paper's loss or with SSD's own."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from mmdet.models.dense_heads import SSDHead
from mmengine.structures import InstanceData
from torch import Tensor, nn

from mmnv3.errors import UserError
from mmnv3.ops.progressive_nms import progressive_nms
from mmnv3.registry import MODELS

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
    nms=dict(type='nms', iou_threshold=0.6), score_thr=1e-8, max_per_img=100
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
    same result (see :mod:`mmnv3.ops.progressive_nms`). ``test_cfg``
    takes mmdet's ``score_thr``, ``nms``, ``max_per_img`` and ``min_bbox_size``, and
    ``nms_pre_per_class``, the most candidates of one class (torchvision's
    ``topk_candidates``). mmdet's ``nms_pre``, a limit per level that exists to save
    time, is used where another suppression than plain ``'nms'`` is configured.

    Args:
        num_classes: Classes without background.
        in_channels: Channels of the levels; what ``SSDLiteNeck()`` returns by default.
        anchor_generator: A ``SSDLiteAnchorGenerator`` by default; its ``input_size``
            must be the network's.
        loss_cls: A sigmoid loss over classes, or None.
        loss_bbox: Box loss beside a sigmoid one; by default smooth L1 with the pipeline
            config's division by the four numbers of a box.
        reg_decoded_bbox: Whether the box loss sees boxes in pixels, as IoU losses
            want, and not their codes.
        prior_prob: The probability that a sigmoid classifier gives every class at
            first; 0.01 is the pipeline config's bias of -4.6.
        norm_cfg: Normalisation.
        bbox_coder: Box coder; by default with the paper's factors 10, 10, 5, 5.
        train_cfg: Matching and sampling; by default IoU 0.5 with the best anchor of
            every object forced.
        test_cfg: Post-processing; by default the pipeline config's.
        init_cfg: Initialisation; N(0, 0.03) by default.
    """

    def __init__(
        self,
        num_classes: int = 80,
        in_channels: Sequence[int] = (672, 480, 512, 256, 256, 128),
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
    ) -> None:
        # SSDHead builds its layers in its constructor and would give them a background
        # class, so ours must know before whether there is one.
        self._has_background = loss_cls is None
        super().__init__(
            num_classes=num_classes,
            in_channels=tuple(in_channels),
            use_depthwise=True,
            norm_cfg=norm_cfg or dict(type='BN', eps=1e-3, momentum=0.03),
            act_cfg=dict(type='ReLU6'),
            anchor_generator=(
                anchor_generator or dict(type='mmnv3.SSDLiteAnchorGenerator')
            ),
            bbox_coder=bbox_coder
            or dict(type='mmdet.DeltaXYWHBBoxCoder', target_stds=(0.1, 0.1, 0.2, 0.2)),
            reg_decoded_bbox=reg_decoded_bbox,
            train_cfg=train_cfg or _TRAIN_CFG,
            test_cfg=test_cfg or _TEST_CFG,
            init_cfg=init_cfg or dict(type='Normal', layer='Conv2d', std=0.03),
        )
        if len(self.in_channels) != self.prior_generator.num_levels:
            raise ValueError(
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
        expected = getattr(self.prior_generator, 'input_size', (width, height))
        if (width, height) != expected:
            raise UserError(
                f'the network got an input of {width}x{height}, but anchor_generator '
                f'has input_size={expected}; set it to ({width}, {height})'
            )

    def loss_by_feat_single(
        self,
        cls_score: Tensor,
        bbox_pred: Tensor,
        anchor: Tensor,
        labels: Tensor,
        label_weights: Tensor,
        bbox_targets: Tensor,
        bbox_weights: Tensor,
        avg_factor: int,
    ) -> tuple[Tensor, Tensor]:
        """Losses of one image.

        Args:
            cls_score: Logits, (A, cls_out_channels).
            bbox_pred: Encoded boxes, (A, 4).
            anchor: Anchors, (A, 4).
            labels: Classes, (A,); ``num_classes`` is background.
            label_weights: (A,).
            bbox_targets: Encoded boxes wanted, (A, 4).
            bbox_weights: (A, 4), zero for background.
            avg_factor: Matched anchors in the batch.

        Returns:
            Classification and box loss.
        """
        if self._has_background:
            return super().loss_by_feat_single(
                cls_score,
                bbox_pred,
                anchor,
                labels,
                label_weights,
                bbox_targets,
                bbox_weights,
                avg_factor,
            )
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
            return super()._predict_by_feat_single(
                cls_score_list,
                bbox_pred_list,
                score_factor_list,
                mlvl_priors,
                img_meta,
                cfg,
                rescale,
                with_nms,
            )
        ranked = _flatten(cls_score_list, self.cls_out_channels)
        threshold = cfg.get('score_thr', 0.0)
        if self._has_background:
            ranked = ranked.softmax(-1)[:, :-1]
        else:
            # The sigmoid keeps the order, so only the detections need it.
            threshold = _logit(threshold)
        deltas = _flatten(bbox_pred_list, self.bbox_coder.encode_size)
        priors = torch.cat(mlvl_priors)

        def decode(index: Tensor) -> Tensor:
            return self.bbox_coder.decode(
                priors[index], deltas[index], max_shape=img_meta['img_shape']
            )

        boxes, scores, labels = progressive_nms(
            ranked,
            decode,
            iou_threshold=nms['iou_threshold'],
            score_threshold=threshold,
            max_num=cfg['max_per_img'],
            per_class=cfg.get('nms_pre_per_class', -1),
        )
        if not self._has_background:
            scores = scores.sigmoid()
        results = InstanceData(bboxes=boxes, scores=scores, labels=labels)
        return self._bbox_post_process(
            results, cfg, rescale, with_nms=False, img_meta=img_meta
        )


def _logit(probability: float) -> float:
    """The logit, also of 0 and 1."""
    if not 0 < probability < 1:
        return -math.inf if probability <= 0 else math.inf
    return math.log(probability / (1 - probability))


def _flatten(maps: list[Tensor], size: int) -> Tensor:
    """Joins (A * size, H, W) maps of all levels into (anchors, size)."""
    return torch.cat([level.permute(1, 2, 0).reshape(-1, size) for level in maps])
