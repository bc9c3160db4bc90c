"""Operators of mmcv that torchvision or plain PyTorch computes, and what uses them."""

import copy
import importlib.util
import math
from functools import partial
from pathlib import Path

import mmdet
import pytest
import torch
from mmcv.ops import (
    DeformConv2dPack,
    ModulatedDeformConv2dPack,
    RoIAlign,
    deform_conv2d,
    modulated_deform_conv2d,
    roi_align,
    roi_pool,
    sigmoid_focal_loss,
)
from mmdet.registry import MODELS
from mmdet.structures import DetDataSample
from mmdet.structures.mask import BitmapMasks
from mmengine.config import Config
from mmengine.registry import DefaultScope
from mmengine.structures import InstanceData
from torch.autograd import gradcheck as whole_gradcheck
from torch.nn.functional import conv2d, grid_sample
from torchvision.ops import sigmoid_focal_loss as torchvision_focal_loss

gradcheck = partial(whole_gradcheck, fast_mode=True)

needs_stand_in = pytest.mark.skipif(
    'mmnv3' not in importlib.util.find_spec('mmcv._ext').origin,
    reason='mmcv has compiled operators here',
)


def uniform(*shape: int, seed: int = 0) -> torch.Tensor:
    random = torch.Generator().manual_seed(seed)
    return torch.rand(*shape, generator=random, dtype=torch.float64)


def some_regions(count: int, size: float, pictures: int = 2) -> torch.Tensor:
    """Regions of up to `size` pixels, some across the border, (i, x1, y1, x2, y2)."""
    corner, extent = uniform(2, count, 2, seed=1) * size
    index = torch.arange(count).double()[:, None] % pictures
    return torch.cat([index, corner - 3, corner + extent - 2], dim=1)


def reference_roi_align(features, rois, size, scale, sampling, aligned):
    """By its definition: the mean of bilinear samples in every bin."""
    height, width = features.shape[2:]

    def sample(plane, y, x):
        if not (-1 <= y <= height and -1 <= x <= width):
            return torch.zeros(len(plane), dtype=plane.dtype)
        y, x = min(max(y, 0), height - 1), min(max(x, 0), width - 1)
        top, left = math.floor(y), math.floor(x)
        bottom, right = min(top + 1, height - 1), min(left + 1, width - 1)
        dy, dx = y - top, x - left
        upper = plane[:, top, left] * (1 - dx) + plane[:, top, right] * dx
        lower = plane[:, bottom, left] * (1 - dx) + plane[:, bottom, right] * dx
        return upper * (1 - dy) + lower * dy

    out = torch.zeros(len(rois), features.shape[1], *size, dtype=features.dtype)
    for n, (index, *corners) in enumerate(rois.tolist()):
        x1, y1, x2, y2 = (value * scale - 0.5 * aligned for value in corners)
        h, w = ((y2 - y1), (x2 - x1)) if aligned else (max(y2 - y1, 1), max(x2 - x1, 1))
        bin_h, bin_w = h / size[0], w / size[1]
        rows, columns = (sampling or math.ceil(b) for b in (bin_h, bin_w))
        for i in range(size[0]):
            for j in range(size[1]):
                for a in range(rows):
                    for b in range(columns):
                        out[n, :, i, j] += sample(
                            features[int(index)],
                            y1 + (i + (a + 0.5) / rows) * bin_h,
                            x1 + (j + (b + 0.5) / columns) * bin_w,
                        ) / max(rows * columns, 1)
    return out


@pytest.mark.parametrize('aligned', [True, False])
@pytest.mark.parametrize('sampling', [0, 1, 2])
def test_roi_align_is_its_definition(sampling, aligned):
    features, rois = uniform(2, 3, 9, 12), some_regions(6, 30)
    found = roi_align(features, rois, (2, 3), 0.5, sampling, 'avg', aligned)
    expected = reference_roi_align(features, rois, (2, 3), 0.5, sampling, aligned)
    torch.testing.assert_close(found, expected, atol=1e-10, rtol=0)


def test_roi_align_of_a_slope_is_its_value_at_the_centres_of_the_bins():
    x = torch.arange(16.0).expand(1, 1, 16, 16)
    rois = torch.tensor([[0.0, 8, 8, 40, 24]])  # in cells of 4 pixels: x from 2 to 10
    found = RoIAlign((1, 2), 0.25, 2)(x, rois)
    assert found.flatten().tolist() == [3.5, 7.5]  # centres 4 and 8 less a half
    found = RoIAlign((1, 2), 0.25, 2, aligned=False)(x, rois)
    assert found.flatten().tolist() == [4, 8]


@pytest.mark.parametrize('aligned', [True, False])
def test_roi_align_has_the_gradient_of_its_values(aligned):
    features, rois = uniform(2, 2, 5, 6).requires_grad_(), some_regions(3, 10)
    assert gradcheck(
        lambda f: roi_align(f, rois, 2, 0.5, 2, 'avg', aligned), (features,)
    )


@needs_stand_in
def test_the_maximum_in_roi_align_says_what_to_install():
    with pytest.raises(NotImplementedError, match=r"roi_align.*'max'.*install"):
        roi_align(uniform(1, 1, 8, 8), some_regions(1, 8), 2, 1.0, 0, 'max', True)


@needs_stand_in
def test_no_region_and_half_precision():
    features = uniform(1, 2, 8, 8).half()
    rois = some_regions(3, 8, 1).half()
    assert roi_align(features, rois[:0], 2).shape == (0, 2, 2, 2)
    assert roi_pool(features, rois[:0], 2).shape == (0, 2, 2, 2)
    found = roi_align(features, rois, 2)
    assert found.dtype == torch.half
    expected = roi_align(features.double(), rois.double(), 2)
    torch.testing.assert_close(found.double(), expected, atol=1e-3, rtol=0)


def reference_roi_pool(features, rois, size, scale):
    """By mmcv's definition: the maximum over the cells that a bin touches."""
    height, width = features.shape[2:]
    out = torch.zeros(len(rois), features.shape[1], *size, dtype=features.dtype)
    for n, (index, x1, y1, x2, y2) in enumerate(rois.tolist()):
        bin_h = (y2 + 1 - y1) * scale / size[0]
        bin_w = (x2 + 1 - x1) * scale / size[1]
        for i in range(size[0]):
            for j in range(size[1]):
                cells = [
                    features[int(index), :, y, x]
                    for y in range(height)
                    for x in range(width)
                    if math.floor(y1 * scale + i * bin_h) <= y
                    and y < math.ceil(y1 * scale + (i + 1) * bin_h)
                    and math.floor(x1 * scale + j * bin_w) <= x
                    and x < math.ceil(x1 * scale + (j + 1) * bin_w)
                ]
                if cells and bin_h > 0 and bin_w > 0:
                    out[n, :, i, j] = torch.stack(cells).amax(0)
    return out


@needs_stand_in  # mmcv compiles it for GPUs only
def test_roi_pool_is_its_definition():
    # Negative features tell a bin's maximum from the 0 of an empty one.
    features, rois = uniform(2, 3, 9, 12) - 1, some_regions(8, 30)
    rois[-1, 3:] = rois[-1, 1:3] - 5  # turned inside out
    found = roi_pool(features, rois, (2, 3), 0.5)
    assert torch.equal(found, reference_roi_pool(features, rois, (2, 3), 0.5))
    assert (found[:-1] != 0).any() and not found[-1].any()


@needs_stand_in
def test_roi_pool_takes_in_the_last_pixel_and_every_touched_cell():
    features = torch.arange(16.0).view(1, 1, 4, 4)
    # Pixels 0 to 2 of 3 make 3 columns; halves of 1.5 both touch the middle one.
    found = roi_pool(features, torch.tensor([[0.0, 0, 0, 2, 2]]), 2)
    assert found.flatten().tolist() == [5, 6, 9, 10]


@needs_stand_in
def test_roi_pool_has_the_gradient_of_its_values():
    features = (torch.randperm(120).double() / 10).view(2, 2, 5, 6).requires_grad_()
    rois = some_regions(3, 10)
    assert gradcheck(lambda f: roi_pool(f, rois, 2, 0.5), (features,))


CONVOLUTIONS = [
    # stride, padding, dilation, groups, deformable groups
    (1, 1, 1, 1, 1),
    ((2, 1), (0, 2), (1, 2), 1, 2),
    (2, 1, 1, 2, 4),
]


def deformable_inputs(stride, padding, dilation, groups, deform_groups):
    """Input, shifts, weights of 4 to 6 channels, kernel 3 x 2, and a mask."""
    x = uniform(2, 4, 7, 8)
    weight = uniform(6, 4 // groups, 3, 2, seed=2) - 0.5
    out = conv2d(x, weight, None, stride, padding, dilation, groups)
    offset = uniform(2, deform_groups * 12, *out.shape[2:], seed=3) * 5 - 2.5
    mask = uniform(2, deform_groups * 6, *out.shape[2:], seed=4)
    return x, offset, weight, mask


def reference_deform_conv(
    x, offset, weight, mask, stride, padding, dilation, groups, deform_groups
):
    """By its definition: samples at shifted places, then a weighted sum."""
    (sy, sx), (py, px), (dy, dx) = (
        value if isinstance(value, tuple) else (value, value)
        for value in (stride, padding, dilation)
    )
    height, width = x.shape[2:]
    out_h, out_w = offset.shape[2:]
    kh, kw = weight.shape[2:]
    shifts = offset.view(len(x), deform_groups, kh, kw, 2, out_h, out_w)
    masks = mask.view(len(x), deform_groups, kh, kw, out_h, out_w)
    rows = torch.arange(out_h).double()[:, None] * sy - py
    columns = torch.arange(out_w).double() * sx - px
    total = 0
    for i in range(kh):
        for j in range(kw):
            parts = []
            for g, part in enumerate(x.chunk(deform_groups, 1)):
                ys = rows + i * dy + shifts[:, g, i, j, 0]
                xs = columns + j * dx + shifts[:, g, i, j, 1]
                # Outside the picture it is 0, and grid_sample counts from -1 to 1.
                grid = torch.stack(
                    [2 * xs / (width - 1) - 1, 2 * ys / (height - 1) - 1], dim=-1
                )
                sampled = grid_sample(part, grid, align_corners=True)
                parts.append(sampled * masks[:, g, i, j, None])
            kernel = weight[:, :, i : i + 1, j : j + 1]
            total = total + conv2d(torch.cat(parts, 1), kernel, groups=groups)
    return total


@pytest.mark.parametrize('case', CONVOLUTIONS)
def test_deformable_convolutions_are_their_definition(case):
    x, offset, weight, mask = deformable_inputs(*case)
    found = deform_conv2d(x, offset, weight, *case)
    ones = torch.ones_like(mask)
    expected = reference_deform_conv(x, offset, weight, ones, *case)
    torch.testing.assert_close(found, expected, atol=1e-10, rtol=0)
    bias = uniform(6, seed=5)
    found = modulated_deform_conv2d(x, offset, mask, weight, bias, *case)
    expected = reference_deform_conv(x, offset, weight, mask, *case)
    expected = expected + bias[:, None, None]
    torch.testing.assert_close(found, expected, atol=1e-10, rtol=0)


@pytest.mark.parametrize('case', CONVOLUTIONS)
def test_without_shifts_they_are_convolutions(case):
    x, offset, weight, mask = deformable_inputs(*case)
    stride, padding, dilation, groups, _ = case
    expected = conv2d(x, weight, None, stride, padding, dilation, groups)
    zeros = torch.zeros_like(offset)
    torch.testing.assert_close(deform_conv2d(x, zeros, weight, *case), expected)
    found = modulated_deform_conv2d(
        x, zeros, torch.full_like(mask, 0.5), weight, None, *case
    )
    torch.testing.assert_close(found, expected / 2)


def test_a_whole_shift_moves_the_picture():
    x = torch.arange(9.0).view(1, 1, 3, 3)
    offset = torch.tensor([1.0, 0.0]).view(1, 2, 1, 1).expand(1, 2, 3, 3)
    found = deform_conv2d(x, offset.contiguous(), torch.ones(1, 1, 1, 1))
    assert found.flatten().tolist() == [3, 4, 5, 6, 7, 8, 0, 0, 0]


@pytest.mark.parametrize('bias', [True, False])
def test_deformable_convolutions_have_the_gradients_of_their_values(bias):
    case = (1, 1, 1, 2, 2)
    x, offset, weight, mask = deformable_inputs(*case)
    x, offset, mask = x[:1, :, :3, :3], offset[:1, :, :3, :4], mask[:1, :, :3, :4]
    leaves = [t.clone().requires_grad_() for t in (x, offset, weight, mask)]
    x, offset, weight, mask = leaves
    assert gradcheck(lambda *t: deform_conv2d(*t, *case), (x, offset, weight))
    b = uniform(6, seed=5).requires_grad_() if bias else None
    assert gradcheck(
        lambda *t: modulated_deform_conv2d(*t, *case), (x, offset, mask, weight, b)
    )


@pytest.mark.parametrize('layer', [DeformConv2dPack, ModulatedDeformConv2dPack])
def test_layers_with_shifts_of_their_own_train(layer):
    net = layer(4, 6, 3, padding=1, deform_groups=2)
    x = torch.rand(2, 4, 8, 8, requires_grad=True)
    net(x).square().sum().backward()
    assert all(p.grad is not None and p.grad.any() for p in net.parameters())
    assert x.grad.any()


@needs_stand_in  # mmcv compiles it for GPUs only
@pytest.mark.parametrize('gamma', [2.0, 0.5])
def test_focal_loss_is_torchvisions(gamma):
    logits = (uniform(6, 3) * 8 - 4).requires_grad_()
    target = torch.tensor([0, 1, 2, 3, 3, 0])  # 3 is the background
    truth = torch.nn.functional.one_hot(target, 4)[:, :3].double()
    expected = torchvision_focal_loss(logits, truth, 0.3, gamma)
    found = sigmoid_focal_loss(logits, target, gamma, 0.3, None, 'none')
    torch.testing.assert_close(found, expected)
    # One of two classes is right with even odds: 0.25 * 0.5 ** 2 * log 2.
    even = sigmoid_focal_loss(torch.zeros(1, 1), torch.tensor([0]), 2.0, 0.25)
    assert even.item() == pytest.approx(0.0625 * math.log(2))
    for reduction in ('mean', 'sum'):
        assert gradcheck(
            lambda x: sigmoid_focal_loss(x, target, gamma, 0.3, None, reduction),  # noqa: B023
            (logits,),
        )


@needs_stand_in
def test_focal_loss_of_sure_logits_and_weights():
    logits = torch.tensor([[200.0, -200.0]], requires_grad=True)
    loss = sigmoid_focal_loss(logits, torch.tensor([1]), 0.5, 0.25, None, 'none')
    # mmcv bounds the logarithm by that of the least float32.
    bound = -math.log(torch.finfo(torch.float32).tiny)
    assert loss[0].tolist() == pytest.approx([0.75 * bound, 0.25 * bound])
    loss.sum().backward()
    assert logits.grad[0].tolist() == pytest.approx([0.75, -0.25])
    weighted = sigmoid_focal_loss(
        logits, torch.tensor([1]), 0.5, 0.25, torch.tensor([7.0, 3.0]), 'none'
    )
    torch.testing.assert_close(weighted, loss * 3)


@pytest.fixture(scope='module')
def mask_rcnn():
    """mmdet's Mask R-CNN, with a backbone of ours and hardly any channels."""
    folder = Path(mmdet.__file__).parent / '.mim/configs/_base_/models'
    model = Config.fromfile(folder / 'mask-rcnn_r50_fpn.py').model
    model.data_preprocessor.pad_size_divisor = 1
    model.backbone = dict(
        type='mmnv3.MobileNetV3',
        arch='small',
        out_taps=('block1', 'block3', 'C4', 'C5'),
    )
    model.neck.update(in_channels=[16, 24, 288, 576], out_channels=8)
    model.rpn_head.update(in_channels=8, feat_channels=8)
    for part in ('bbox', 'mask'):
        model.roi_head[f'{part}_roi_extractor'].out_channels = 8
    model.roi_head.bbox_head.update(in_channels=8, fc_out_channels=16, num_classes=3)
    model.roi_head.mask_head.update(
        in_channels=8, conv_out_channels=8, num_classes=3, num_convs=1
    )
    model.train_cfg.rpn_proposal.update(nms_pre=50, max_per_img=20)
    model.train_cfg.rcnn.sampler.num = 20
    model.test_cfg.rpn.update(nms_pre=50, max_per_img=20)
    model.test_cfg.rcnn.score_thr = 0.0
    return model


def pictures_with_boxes() -> dict:
    samples = []
    for shift in (0, 20):
        boxes = torch.tensor([[8.0, 8, 40, 40], [30, 20, 60, 50]]) + shift
        masks = torch.zeros(2, 96, 96, dtype=torch.uint8)
        for mask, (x1, y1, x2, y2) in zip(masks, boxes.long().tolist()):
            mask[y1:y2, x1:x2] = 1
        sample = DetDataSample(
            metainfo=dict(
                img_shape=(96, 96),
                ori_shape=(96, 96),
                pad_shape=(96, 96),
                batch_input_shape=(96, 96),
                scale_factor=(1.0, 1.0),
            )
        )
        sample.gt_instances = InstanceData(
            bboxes=boxes,
            labels=torch.tensor([0, 2]),
            masks=BitmapMasks(masks.numpy(), 96, 96),
        )
        samples.append(sample)
    return dict(inputs=torch.rand(2, 3, 96, 96) * 255, data_samples=samples)


@pytest.mark.parametrize(
    ('kind', 'roi_layer'),
    [('MaskRCNN', 'RoIAlign'), ('FasterRCNN', 'RoIAlign'), ('FasterRCNN', 'RoIPool')],
)
def test_detectors_of_two_stages_train_and_predict(mask_rcnn, kind, roi_layer):
    config = copy.deepcopy(mask_rcnn)
    config.type = kind
    if kind == 'FasterRCNN':
        del config.roi_head.mask_head, config.roi_head.mask_roi_extractor
    config.roi_head.bbox_roi_extractor.roi_layer = dict(type=roi_layer, output_size=7)
    torch.manual_seed(0)
    with DefaultScope.overwrite_default_scope('mmdet'):
        model = MODELS.build(config)
        batch = model.data_preprocessor(pictures_with_boxes(), training=True)
        losses = model(**batch, mode='loss')
        total, logged = model.parse_losses(losses)
        # The second stage knows the backbone by the features of its regions alone.
        losses['loss_cls'].backward(retain_graph=True)
        assert model.backbone.stem.conv.weight.grad.any()
        total.backward()
        names = {'loss_cls', 'loss_bbox', 'loss_rpn_cls', 'loss_rpn_bbox'}
        names |= {'loss_mask'} if kind == 'MaskRCNN' else set()
        assert {name for name in logged if name.startswith('loss_')} == names
        assert total.isfinite()
        assert model.roi_head.bbox_head.shared_fcs[0].weight.grad.any()
        found = model.eval()(**batch, mode='predict')
    instances = found[0].pred_instances
    assert len(instances) and instances.bboxes.isfinite().all()
    if kind == 'MaskRCNN':
        assert instances.masks.shape == (len(instances), 96, 96)
