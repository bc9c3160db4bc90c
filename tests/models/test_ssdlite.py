"""The whole detector against torchvision's, its losses, and what it refuses."""

import math
from pathlib import Path

import pytest
import torch
from mmdet.models.dense_heads import SSDHead
from mmdet.structures import DetDataSample
from mmengine.config import ConfigDict
from mmengine.registry import DefaultScope
from mmengine.structures import InstanceData
from torch import nn
from torch.nn import functional as F
from torchvision.io import ImageReadMode, read_image
from torchvision.models.detection import ssdlite320_mobilenet_v3_large
from torchvision.ops import box_iou, sigmoid_focal_loss

from mmnv3.arch import follow_backbone
from mmnv3.deploy.graph import build_graph
from mmnv3.errors import Remark, UserError
from mmnv3.models import MobileNetV3, SSDLiteHead, SSDLiteNeck
from mmnv3.models.ssdlite import SigmoidFocalLoss
from mmnv3.registry import MODELS
from tests.models.parity import calibrate_norms, copy_in_order, shake_norms

PHOTOS = (
    Path('data/photos')
    if Path('data/photos').is_dir()
    else Path('../shared/data/photos')
)
TV_TEST_CFG = ConfigDict(
    nms=dict(type='nms', iou_threshold=0.55),
    score_thr=0.001,
    max_per_img=300,
    nms_pre_per_class=300,
)


def detector(**head: object) -> nn.ModuleList:
    """Backbone, neck and head as torchvision lays them out."""
    backbone = MobileNetV3(
        'large', tail='detection', out_taps=('C4', 'C5'), padding='symmetric'
    )
    neck = SSDLiteNeck(padding='symmetric')
    return nn.ModuleList(
        [
            backbone,
            neck,
            SSDLiteHead(
                anchor_generator=dict(
                    type='mmnv3.SSDLiteAnchorGenerator', layout='torchvision'
                ),
                **head,
            ),
        ]
    )


def run(parts: nn.ModuleList, x: torch.Tensor) -> tuple[list, list]:
    backbone, neck, head = parts
    return head(neck(backbone(x)))


@pytest.fixture(scope='module')
def pair() -> tuple[nn.Module, nn.ModuleList]:
    """torchvision's detector with random weights, and ours with the same."""
    torch.manual_seed(0)
    theirs = ssdlite320_mobilenet_v3_large(
        weights=None, weights_backbone=None, num_classes=91
    ).eval()
    shake_norms(theirs)
    heads = theirs.head
    for convs in (heads.classification_head, heads.regression_head):
        for level in convs.module_list:
            # Random features give every class the same score; spread them, so that
            # the order of detections means something.
            nn.init.normal_(level[-1].weight, std=0.03)
    calibrate_norms(theirs, lambda x: heads(list(theirs.backbone(x).values())))
    ours = detector(num_classes=90, loss_cls=None, test_cfg=TV_TEST_CFG).eval()
    copy_in_order(theirs.backbone, nn.ModuleList(ours[:2]))
    copy_in_order(heads.regression_head.module_list, ours[2].reg_convs)
    copy_in_order(heads.classification_head.module_list, ours[2].cls_convs)
    for level in ours[2].cls_convs:
        # torchvision's background is the first class, mmdet's the last.
        for name in ('weight', 'bias'):
            value = getattr(level[-1], name)
            rows = value.detach().view(6, 91, -1).roll(-1, dims=1)
            setattr(level[-1], name, nn.Parameter(rows.reshape(value.shape)))
    return theirs, ours


def test_raw_outputs_equal_torchvision(pair: tuple) -> None:
    theirs, ours = pair
    x = torch.rand(2, 3, 320, 320) * 2 - 1
    with torch.no_grad():
        expected = theirs.head(list(theirs.backbone(x).values()))
        scores, boxes = run(ours, x)
    scores = torch.cat([s.permute(0, 2, 3, 1).reshape(2, -1, 91) for s in scores], 1)
    boxes = torch.cat([b.permute(0, 2, 3, 1).reshape(2, -1, 4) for b in boxes], 1)
    assert scores.shape == (2, 3234, 91)
    scale = expected['cls_logits'].abs().max()
    assert (scores.roll(1, dims=2) - expected['cls_logits']).abs().max() < 1e-4 * scale
    scale = expected['bbox_regression'].abs().max()
    assert (boxes - expected['bbox_regression']).abs().max() < 1e-4 * scale


@pytest.mark.skipif(not PHOTOS.is_dir(), reason=f'no photos in {PHOTOS}')
def test_detections_on_photos_equal_torchvision(pair: tuple) -> None:
    theirs, ours = pair
    photos = sorted(PHOTOS.glob('*.jpg'))
    assert photos
    for path in photos:
        photo = read_image(str(path), mode=ImageReadMode.RGB) / 255
        height, width = photo.shape[-2:]
        with torch.no_grad():
            expected = theirs([photo])[0]
            x = theirs.transform([photo])[0].tensors
            found = ours[2].predict_by_feat(
                *run(ours, x),
                rescale=True,
                batch_img_metas=[
                    dict(img_shape=(320, 320), scale_factor=(320 / width, 320 / height))
                ],
            )[0]
        assert len(found) == 300 and found.scores[0] > 0.3
        torch.testing.assert_close(found.scores, expected['scores'], rtol=0, atol=1e-4)
        # Scores that differ by rounding alone may change places, so pair the rows up.
        same = (
            (found.labels[:, None] + 1 == expected['labels'])
            & ((found.scores[:, None] - expected['scores']).abs() < 1e-4)
            & ((found.bboxes[:, None] - expected['boxes']).abs().amax(2) < 0.05)
        )
        assert same.any(0).all() and same.any(1).all(), path


def test_generic_suppression_agrees_with_the_early_one(pair: tuple) -> None:
    head = pair[1][2]
    x = torch.rand(1, 3, 320, 320) * 2 - 1
    meta = [dict(img_shape=(320, 320), pad_shape=(320, 320))]
    cfg = ConfigDict(
        nms=dict(type='nms', iou_threshold=0.5), score_thr=0.02, max_per_img=20
    )
    with torch.no_grad():
        maps = run(pair[1], x)
        quick = head.predict_by_feat(*maps, batch_img_metas=meta, cfg=cfg)[0]
        cfg.min_bbox_size = -0.5  # takes
        slow = head.predict_by_feat(*maps, batch_img_metas=meta, cfg=cfg)[0]
    assert len(quick) == 20
    torch.testing.assert_close(quick.bboxes, slow.bboxes, rtol=1e-4, atol=1e-2)
    assert torch.equal(quick.labels, slow.labels)


def test_sigmoid_detections_agree_with_mmdets() -> None:
    torch.manual_seed(0)
    parts = detector(num_classes=5).eval()
    calibrate_norms(parts, lambda x: run(parts, x))
    head, x = parts[2], torch.rand(1, 3, 320, 320) * 2 - 1
    meta = dict(img_shape=(320, 320), pad_shape=(320, 320))
    cfg = ConfigDict(
        nms=dict(type='nms', iou_threshold=0.5), score_thr=0.3, max_per_img=30
    )
    with torch.no_grad():
        maps = run(parts, x)
        quick = head.predict_by_feat(*maps, batch_img_metas=[meta], cfg=cfg)[0]
        slow = super(SSDLiteHead, head)._predict_by_feat_single(
            [level[0] for level in maps[0]],
            [level[0] for level in maps[1]],
            [None] * 6,
            head.get_anchors([s.shape[-2:] for s in maps[0]], [meta], 'cpu')[0][0],
            meta,
            cfg,
        )
    assert len(quick) == len(slow) > 3
    assert quick.scores.min() > 0.3
    torch.testing.assert_close(quick.scores, slow.scores)
    torch.testing.assert_close(quick.bboxes, slow.bboxes, rtol=1e-4, atol=1e-2)
    assert torch.equal(quick.labels, slow.labels)


def test_class_agnostic_suppression_is_mmdets(pair: tuple) -> None:
    head, x = pair[1][2], torch.rand(1, 3, 320, 320) * 2 - 1
    cfg = ConfigDict(
        nms=dict(type='nms', iou_threshold=0.3, class_agnostic=True),
        score_thr=0.1,
        max_per_img=50,
    )
    with torch.no_grad():
        found = head.predict_by_feat(
            *run(pair[1], x), cfg=cfg, batch_img_metas=[dict(img_shape=(320, 320))]
        )[0]
    overlaps = box_iou(found.bboxes, found.bboxes).fill_diagonal_(0)
    assert len(found) > 5 and len(found.labels.unique()) > 1
    assert overlaps.nan_to_num().max() <= 0.3


def targets() -> tuple[list, list]:
    boxes = torch.tensor([[30.0, 40, 150, 200], [200, 180, 260, 300]])
    return (
        [InstanceData(bboxes=boxes, labels=torch.tensor([1, 0]))],
        [dict(img_shape=(320, 320), pad_shape=(320, 320))],
    )


@pytest.mark.parametrize(('alpha', 'gamma'), [(0.75, 2.0), (0.25, 1.5), (0.5, 0.0)])
def test_focal_loss_is_torchvisions(alpha: float, gamma: float) -> None:
    torch.manual_seed(0)
    # Also of logits that are sure, and wrong.
    pred = (20 * torch.randn(50, 7, dtype=torch.float64)).requires_grad_()
    target, weight = torch.randint(8, (50,)), torch.rand(50)
    wanted = F.one_hot(target, 8)[:, :-1].double()
    expected = sigmoid_focal_loss(pred, wanted, alpha, gamma).sum(1) * weight / 3
    loss = SigmoidFocalLoss(alpha, gamma, loss_weight=2.0)
    found = loss(pred, target, weight, avg_factor=3)
    torch.testing.assert_close(found, 2 * expected.sum())
    (gradient,) = torch.autograd.grad(found, pred)
    (expected_gradient,) = torch.autograd.grad(2 * expected.sum(), pred)
    torch.testing.assert_close(gradient, expected_gradient, rtol=1e-6, atol=1e-7)
    # Sums of many need more digits than bfloat16 has.
    assert loss(pred.bfloat16(), target, weight, 3).dtype == torch.float32


def test_focal_loss_by_hand() -> None:
    torch.manual_seed(0)
    parts = detector(num_classes=3).eval()
    head = parts[2]
    assert [conv[-1].out_channels for conv in head.cls_convs] == [18] * 6
    instances, metas = targets()
    scores, boxes = run(parts, torch.rand(1, 3, 320, 320))
    losses = head.loss_by_feat(scores, boxes, instances, metas)
    anchors, flags = head.get_anchors([s.shape[-2:] for s in scores], metas, 'cpu')
    labels, _, wanted, weights, matched = head.get_targets(
        anchors, flags, instances, metas
    )
    labels = torch.cat(labels, 1)[0]
    assert matched == (labels < 3).sum() > 2
    logits = torch.cat([s.permute(0, 2, 3, 1).reshape(-1, 3) for s in scores]).double()
    total = 0.0
    for row, label in zip(logits.sigmoid(), labels):
        for index, p in enumerate(row):
            total += (
                -0.75 * (1 - p) ** 2 * p.log()
                if index == label
                else -0.25 * p**2 * (1 - p).log()
            )
    assert losses['loss_cls'][0].item() == pytest.approx((total / matched).item(), 1e-4)
    deltas = torch.cat([b.permute(0, 2, 3, 1).reshape(-1, 4) for b in boxes])
    off = (deltas - torch.cat(wanted, 1)[0]).abs() * torch.cat(weights, 1)[0]
    huber = torch.where(off < 1, off**2 / 2, off - 0.5).sum() / matched / 4
    assert losses['loss_bbox'][0].item() == pytest.approx(huber.item(), 1e-4)


def test_iou_loss_sees_boxes_in_pixels() -> None:
    parts = detector(
        num_classes=3, reg_decoded_bbox=True, loss_bbox=dict(type='mmdet.GIoULoss')
    ).eval()
    head = parts[2]
    instances, metas = targets()
    scores, boxes = run(parts, torch.rand(1, 3, 320, 320))
    anchors, flags = head.get_anchors([s.shape[-2:] for s in scores], metas, 'cpu')
    _, _, wanted, weights, _ = head.get_targets(anchors, flags, instances, metas)
    matched = torch.cat(weights, 1)[0, :, 0] > 0
    anchors = torch.cat(anchors[0])
    codes = torch.zeros_like(anchors)
    codes[matched] = head.bbox_coder.encode(
        anchors[matched], torch.cat(wanted, 1)[0, matched]
    )
    perfect, start = [], 0
    for level in boxes:
        count = level[0].numel() // 4
        part = codes[start : start + count].view(*level.shape[-2:], -1)
        perfect.append(part.permute(2, 0, 1)[None])
        start += count
    loss = head.loss_by_feat(scores, perfect, instances, metas)['loss_bbox'][0]
    assert loss.item() == pytest.approx(0, abs=1e-4)
    random = head.loss_by_feat(scores, boxes, instances, metas)['loss_bbox'][0]
    assert random > 0.1
    random.backward()
    assert parts[1].extra_layers[0][0].conv.weight.grad is not None


def test_boxes_of_the_originals_layout_have_no_bound() -> None:
    """Its coder is w = exp(t / 5) · the anchor's; torchvision's stops at 62.5 times."""
    anchors = torch.tensor([[10.0, 20, 14, 28]])
    codes = torch.tensor([[0.0, 0, 25, 26]])
    width, height = 4 * math.exp(5), 8 * math.exp(5.2)
    expected = [12 - width / 2, 24 - height / 2, 12 + width / 2, 24 + height / 2]
    found = SSDLiteHead().bbox_coder.decode(anchors, codes)
    torch.testing.assert_close(found, torch.tensor([expected]))
    bounded = SSDLiteHead(loss_cls=None).bbox_coder.decode(anchors, codes)
    assert (bounded[0, 2] - bounded[0, 0]).item() == pytest.approx(4 * 62.5)


def test_softmax_losses_equal_torchvision(pair: tuple) -> None:
    theirs, ours = pair
    head = ours[2]
    instances, metas = targets()
    x = torch.rand(1, 3, 320, 320) * 2 - 1
    with torch.no_grad():
        outputs = theirs.head(list(theirs.backbone(x).values()))
        maps = run(ours, x)
        losses = head.loss_by_feat(*maps, instances, metas)
        anchors = torch.cat(
            head.get_anchors([s.shape[-2:] for s in maps[0]], metas, 'cpu')[0][0]
        )
        matched = theirs.proposal_matcher(box_iou(instances[0].bboxes, anchors))
        expected = theirs.compute_loss(
            [dict(boxes=instances[0].bboxes, labels=instances[0].labels + 1)],
            outputs,
            [anchors],
            [matched],
        )
    assert losses['loss_cls'][0].item() == pytest.approx(
        expected['classification'].item(), rel=1e-4
    )
    assert losses['loss_bbox'][0].item() == pytest.approx(
        expected['bbox_regression'].item(), rel=1e-4
    )


def test_an_image_without_objects_trains() -> None:
    parts = detector(num_classes=3).eval()
    empty = [
        InstanceData(bboxes=torch.zeros(0, 4), labels=torch.zeros(0, dtype=torch.long))
    ]
    metas = targets()[1]
    losses = parts[2].loss_by_feat(
        *run(parts, torch.rand(1, 3, 320, 320)), empty, metas
    )
    assert losses['loss_cls'][0] > 0 and losses['loss_bbox'][0] == 0


def test_one_picture_trains() -> None:
    """Its last maps have a single value per channel."""
    torch.manual_seed(0)
    parts = detector(num_classes=3).train()
    boxes, metas = targets()
    with pytest.warns(Remark, match='a batch of one picture'):
        maps = run(parts, torch.rand(1, 3, 320, 320))
    losses = parts[2].loss_by_feat(*maps, boxes[:1], metas[:1])
    sum(map(sum, losses.values())).backward()
    for name, value in parts.named_parameters():
        assert value.grad is not None and value.grad.isfinite().all(), name
    assert parts[1].extra_layers[3][1].pointwise_conv.conv.weight.grad.any()


def test_rare_objects_at_first() -> None:
    head = SSDLiteHead(num_classes=3)
    head.init_weights()
    for convs in head.cls_convs:
        torch.testing.assert_close(
            convs[-1].bias, torch.full_like(convs[-1].bias, -4.59512)
        )
        assert 0.02 < convs[-1].weight.std() < 0.04
    assert head.reg_convs[0][-1].bias.abs().max() == 0


def test_defaults_fit_together() -> None:
    backbone = MobileNetV3(tail='detection', out_taps=('C4', 'C5')).eval()
    neck, head = SSDLiteNeck().eval(), SSDLiteHead(num_classes=80).eval()
    x = torch.randn(1, 3, 320, 320)
    with torch.no_grad():
        maps = head(neck(backbone(x)))
        found = head.predict_by_feat(
            *maps, batch_img_metas=[dict(img_shape=(320, 320))]
        )[0]
    assert [tuple(s.shape[1:]) for s in maps[0]] == [
        (240, 20, 20),
        (480, 10, 10),
        (480, 5, 5),
        (480, 3, 3),
        (480, 2, 2),
        (480, 1, 1),
    ]
    assert len(found) == 100


@pytest.mark.parametrize('scope', ['mmseg', 'mmpretrain', 'mmengine'])
def test_builds_under_any_default_scope(scope: str) -> None:
    with DefaultScope.overwrite_default_scope(scope):
        SSDLiteHead(num_classes=3)
        SSDLiteNeck()


def test_anchors_for_another_input_are_refused() -> None:
    parts = detector(num_classes=3).eval()
    head = parts[2]
    maps = run(parts, torch.randn(1, 3, 256, 256))
    meta = dict(img_shape=(256, 256), pad_shape=(256, 256))
    with pytest.raises(UserError, match=r'256x256.*set it to \(256, 256\)'):
        head.predict_by_feat(*maps, batch_img_metas=[meta])
    with pytest.raises(UserError, match=r'256x256.*set it to \(256, 256\)'):
        head.loss_by_feat(*maps, targets()[0], [meta])


@pytest.mark.parametrize(
    ('sizes', 'side'),
    [
        (dict(input_size=300, basesize_ratio_range=(0.15, 0.9)), 300),
        # These anchors know no input and fit every one.
        (
            dict(
                min_sizes=[30, 60, 111, 162, 213, 264],
                max_sizes=[60, 111, 162, 213, 264, 315],
            ),
            192,
        ),
    ],
)
@pytest.mark.parametrize('loss_cls', [None, dict(type='mmnv3.SigmoidFocalLoss')])
def test_mmdets_own_anchors_train_predict_and_export(
    sizes: dict, side: int, loss_cls: dict | None
) -> None:
    torch.manual_seed(0)
    model = mmdet_anchors(loss_cls=loss_cls, **sizes)
    size = side, side
    sample = DetDataSample(
        metainfo=dict(
            img_shape=size, ori_shape=size, pad_shape=size, batch_input_shape=size
        ),
        gt_instances=InstanceData(
            bboxes=torch.tensor([[30.0, 40, 90, 120]]), labels=torch.tensor([1])
        ),
    )
    images = F.interpolate(3 * torch.randn(2, 3, 10, 10), size, mode='bicubic')
    losses, _ = model.parse_losses(model.loss(images, [sample, sample]))
    losses.backward()
    assert losses.isfinite() and losses > 0
    grads = [convs[-1].bias.grad for convs in model.bbox_head.reg_convs]
    assert any(grad.abs().sum() > 0 for grad in grads)

    # Untrained, all places look alike and their order means nothing.
    calibrate_norms(model, model)
    for convs in model.bbox_head.cls_convs:
        nn.init.normal_(convs[-1].weight, std=0.03)
    with torch.no_grad():
        (found,) = model.predict(images[:1], [sample], rescale=False)
        graph = build_graph(model, size, postprocess=True)
        boxes, scores, labels = (out[0] for out in graph(images[:1])[:3])
    # The exported network says the same; rounding chooses the order of ties.
    torch.testing.assert_close(scores, found.pred_instances.scores, atol=1e-4, rtol=0)
    for box, label in zip(
        found.pred_instances.bboxes[:20], found.pred_instances.labels
    ):
        apart = (boxes - box).abs().amax(1)
        assert apart[labels == label].min() < 1e-2


def mmdet_anchors(loss_cls: dict | None, **sizes: object) -> nn.Module:
    """A detector of three classes on mmdet's own anchors."""
    backbone = dict(
        type='mmnv3.MobileNetV3',
        arch='small',
        tail='detection',
        out_taps=('C4', 'C5'),
    )
    anchors = dict(
        type='mmdet.SSDAnchorGenerator',
        strides=[16, 32, 64, 107, 160, 320],
        ratios=[[2, 3]] * 6,
        scale_major=False,
        **sizes,
    )
    return MODELS.build(
        follow_backbone(
            dict(
                type='mmdet.SingleStageDetector',
                backbone=backbone,
                neck=dict(type='mmnv3.SSDLiteNeck'),
                bbox_head=dict(
                    type='mmnv3.SSDLiteHead',
                    num_classes=3,
                    anchor_generator=anchors,
                    loss_cls=loss_cls,
                ),
            )
        )
    )


def test_other_sizes_than_those_of_mmdets_anchors_are_refused() -> None:
    model = mmdet_anchors(None, input_size=300, basesize_ratio_range=(0.15, 0.9)).eval()
    meta = dict(img_shape=(320, 256), pad_shape=(320, 256))
    maps = model.bbox_head(model.extract_feat(torch.zeros(1, 3, 320, 256)))
    with pytest.raises(
        UserError, match=r'256x320.*resize pictures to 300x300.*min_siz'
    ):
        model.bbox_head.predict_by_feat(*maps, batch_img_metas=[meta])


def test_stacked_convs_are_those_of_mmdets_head() -> None:
    common = dict(num_classes=3, in_channels=(16, 24), stacked_convs=2, feat_channels=8)
    anchors = dict(type='mmnv3.SSDLiteAnchorGenerator', num_levels=2)
    coder = dict(type='mmdet.DeltaXYWHBBoxCoder')
    common |= dict(
        anchor_generator=anchors, bbox_coder=coder, act_cfg=dict(type='ReLU')
    )
    ours = SSDLiteHead(**common, loss_cls=None).eval()
    theirs = SSDHead(**common, use_depthwise=True, norm_cfg=dict(type='BN', eps=1e-3))
    theirs.load_state_dict(ours.state_dict())
    maps = torch.randn(1, 16, 10, 10), torch.randn(1, 24, 5, 5)
    for found, expected in zip(ours(maps), theirs.eval()(maps)):
        torch.testing.assert_close(found, expected, rtol=0, atol=0)
    with pytest.raises(UserError, match='use_depthwise=False'):
        SSDLiteHead(use_depthwise=False)


@pytest.mark.parametrize(
    ('make', 'message'),
    [
        (lambda: SSDLiteHead(num_classes=0), 'num_classes=0 must be a positive int'),
        (lambda: SSDLiteHead(num_classes='80'), "num_classes='80' must be"),
        (lambda: SSDLiteHead(in_channels=8), 'in_channels=8 must be a sequence'),
        (lambda: SSDLiteHead(prior_prob=0), 'prior_prob=0 must be a positive number'),
        (lambda: SSDLiteHead(norm_cfg='BN'), "norm_cfg='BN' names no normalisation"),
        (lambda: SSDLiteNeck(in_channels=(8, 0)), r'in_channels\[1\]=0 must be'),
        (lambda: SSDLiteNeck(extra_channels=8), 'extra_channels=8 must be a seq'),
        (lambda: SSDLiteNeck(width=0), 'width=0 must be a positive number'),
        (lambda: SSDLiteNeck(width=float('nan')), 'width=nan must be a positive'),
        (lambda: SSDLiteNeck(norm_cfg=dict(type='B')), 'names no normalisation'),
        (lambda: SSDLiteNeck(padding=1), 'same, symmetric'),
    ],
)
def test_what_is_impossible_is_refused(make, message: str) -> None:
    with pytest.raises(UserError, match=message):
        make()


def test_levels_must_agree() -> None:
    with pytest.raises(UserError, match='same number'):
        SSDLiteHead(in_channels=(8, 8))
