"""LR-ASPP and R-ASPP: parity with torchvision, the formula, sizes, and refusals."""

import copy
from pathlib import Path

import pytest
import torch
from mmengine.config import Config, ConfigDict
from mmengine.registry import init_default_scope
from mmengine.structures import PixelData
from mmseg.structures import SegDataSample
from torch import nn
from torch.nn import functional as F
from torchvision.io import ImageReadMode, read_image
from torchvision.models.segmentation import lraspp_mobilenet_v3_large

from mmnv3.errors import NotFiniteError, UserError
from mmnv3.models import LRASPPHead, MobileNetV3, RASPPHead
from mmnv3.models.lraspp import WindowPool, pool_window
from mmnv3.registry import MODELS
from tests.models.parity import calibrate_norms, copy_in_order, shake_norms

ROOT = Path(__file__).parents[2]
PHOTOS = next(
    (p for p in (ROOT / 'data/photos', ROOT / '../shared/data/photos') if p.is_dir()),
    ROOT / 'data/photos',
)
HEAD_KEYS = {
    'cbr.0': 'conv.conv', 'cbr.1': 'conv.bn', 'scale.1': 'pool_conv',
    'low_classifier': 'low_seg', 'high_classifier': 'conv_seg',
}  # fmt: skip


def build(name: str, suffix: str = '') -> nn.Module:
    """A segmenter of the configs with random weights."""
    init_default_scope('mmseg')
    config = Config.fromfile(ROOT / f'configs/{name}_cityscapes{suffix}.py')
    segmenter = MODELS.build(config.model)
    segmenter.init_weights()
    return segmenter


def logits(segmenter: nn.Module, x: torch.Tensor) -> torch.Tensor:
    """Logits at the size of the pictures."""
    metas = [dict(img_shape=x.shape[-2:], ori_shape=x.shape[-2:])] * len(x)
    return segmenter.encode_decode(x, metas)


@pytest.fixture(scope='module')
def pair() -> tuple[nn.Module, nn.Module]:
    """torchvision's segmenter with random weights, and ours with the same."""
    torch.manual_seed(0)
    theirs = lraspp_mobilenet_v3_large(
        weights=None, weights_backbone=None, num_classes=19
    ).eval()
    calibrate_norms(theirs, theirs)
    with torch.no_grad():
        # Logits of the order of one, as a trained network's.
        scale = theirs(torch.rand(2, 3, 160, 160) * 2 - 1)['out'].std()
        for name in ('low_classifier', 'high_classifier'):
            getattr(theirs.classifier, name).weight /= scale
    ours = build('lraspp_mnv3_large', '_tv').eval()
    copy_in_order(theirs.backbone, ours.backbone)
    state = {'pool_conv.bias': torch.zeros(128)}
    for key, value in theirs.classifier.state_dict().items():
        layer, name = key.rsplit('.', 1)
        state[f'{HEAD_KEYS[layer]}.{name}'] = value
    ours.decode_head.load_state_dict(state)
    return theirs, ours


@pytest.mark.skipif(not PHOTOS.is_dir(), reason=f'no photos in {PHOTOS}')
def test_logits_on_photos_equal_torchvision(pair: tuple) -> None:
    theirs, ours = pair
    for path in sorted(PHOTOS.glob('*.jpg'))[:3]:
        x = read_image(str(path), ImageReadMode.RGB)[None] / 127.5 - 1
        x = F.interpolate(x, (321, 450), mode='bilinear')
        with torch.no_grad():
            expected, found = theirs(x)['out'], logits(ours, x)
        # Logits that differ from place to place, so that equality says something.
        assert expected.std() > 0.1
        torch.testing.assert_close(found, expected, atol=1e-4, rtol=1e-4)


def test_logits_on_noise_equal_torchvision(pair: tuple) -> None:
    # White noise makes activations in the thousands, where single precision is coarse.
    theirs, ours = (copy.deepcopy(net).double() for net in pair)
    x = torch.randn(2, 3, 97, 130).double()
    with torch.no_grad():
        torch.testing.assert_close(logits(ours, x), theirs(x)['out'])


@pytest.mark.parametrize('gate', ['sigmoid', 'hsigmoid'])
def test_lraspp_is_its_formula(gate: str) -> None:
    torch.manual_seed(0)
    head = LRASPPHead(
        num_classes=5, in_channels=(4, 6), channels=8, gate=gate,
        pool=((3, 4), (2, 3)),
    )  # fmt: skip
    shake_norms(head)
    low, high = torch.randn(2, 4, 18, 26), 3 * torch.randn(2, 6, 9, 13)
    head.eval()
    with torch.no_grad():
        found = head((low, high))
        bn = head.conv.bn
        x = F.conv2d(high, head.conv.conv.weight)
        x = F.batch_norm(x, bn.running_mean, bn.running_var, bn.weight, bn.bias)
        pooled = F.avg_pool2d(high, (3, 4), (2, 3))
        assert pooled.shape[-2:] == (4, 4)
        s = F.conv2d(pooled, head.pool_conv.weight, head.pool_conv.bias)
        s = torch.sigmoid(s) if gate == 'sigmoid' else F.relu6(s + 3) / 6
        s = F.interpolate(s, (9, 13), mode='bilinear', align_corners=True)
        x = F.interpolate(F.relu(x) * s, (18, 26), mode='bilinear', align_corners=True)
        expected = F.conv2d(x, head.conv_seg.weight, head.conv_seg.bias)
        expected = expected + F.conv2d(low, head.low_seg.weight, head.low_seg.bias)
    torch.testing.assert_close(found, expected, atol=1e-5, rtol=1e-5)


def test_the_papers_windows() -> None:
    # Figure 10, and the same pixels at the other strides.
    assert pool_window('paper', 16) == ((49, 49), (16, 20))
    assert pool_window('paper', 32) == ((25, 25), (8, 10))
    assert pool_window('paper', 8) == ((97, 97), (32, 40))
    pool = WindowPool('paper', 16)
    # 1025x2049 pixels give 2x5 windows, the training crop of 769 gives one.
    assert pool(torch.zeros(1, 1, 65, 129)).shape[-2:] == (2, 5)
    assert pool(torch.zeros(1, 1, 49, 49)).shape[-2:] == (1, 1)
    # A map that is smaller in one direction only.
    x = torch.randn(1, 1, 20, 70)
    windows = pool(x)
    assert windows.shape[-2:] == (1, 2)
    torch.testing.assert_close(windows[0, 0, 0, 1], x[..., 20:69].mean())


@pytest.mark.parametrize(
    ('make', 'message'),
    [
        (lambda: LRASPPHead(gate='tanh'), "gate='tanh' is unknown; possible: sigm"),
        (lambda: LRASPPHead(pool='local'), "pool='local' is impossible; possible: 'p"),
        (lambda: LRASPPHead(pool=((3, 3), (0, 1))), 'is impossible'),
        (lambda: RASPPHead(pool=(3, 3)), 'is impossible'),
        (lambda: LRASPPHead(output_stride=0), 'output_stride=0 must be'),
        (lambda: LRASPPHead(num_classes=0), 'num_classes=0 must be'),
        (lambda: LRASPPHead(channels='128'), "channels='128' must be"),
        (lambda: LRASPPHead(in_channels=(8, -8)), r'in_channels\[1\]=-8 must be'),
        (lambda: LRASPPHead(in_channels=8), 'in_channels=8 must be a sequence of 2'),
        (lambda: RASPPHead(in_channels=(8, 8)), r'in_channels=\(8, 8\) must be'),
        (lambda: RASPPHead(channels=0), 'channels=0 must be'),
        (lambda: RASPPHead(num_classes=2.0), r'num_classes=2\.0 must be'),
        (lambda: LRASPPHead(in_channels=(8,)), 'must be a sequence of 2 numbers'),
    ],
)
def test_what_is_impossible_is_refused(make, message: str) -> None:
    with pytest.raises(UserError, match=message):
        make()


def test_nan_is_no_class() -> None:
    """An argmax would take it for the best, and mmseg score the first class."""
    logits = torch.zeros(2, 19, 3, 4)
    logits[1, 5, 2, 3] = torch.nan
    metas = [dict(img_shape=(6, 8), img_path=f'{name}.jpg') for name in 'ab']
    for head in (LRASPPHead(), RASPPHead()):
        assert head.predict_by_feat(logits[:1], metas).shape == (1, 19, 6, 8)
        with pytest.raises(NotFiniteError, match=r'gives NaN for b\.jpg; its weights'):
            head.predict_by_feat(logits, metas)


@pytest.mark.parametrize(
    'name',
    ['lraspp_mnv3_large', 'lraspp_mnv3_small_os32', 'raspp_mnv2', 'lraspp_mnv2_035'],
)
@pytest.mark.parametrize('size', [(33, 33), (35, 64), (161, 97)])
def test_any_size_trains_and_infers(name: str, size: tuple[int, int]) -> None:
    torch.manual_seed(0)
    segmenter = build(name)
    pictures = torch.randn(2, 3, *size)
    samples = []
    for _ in pictures:
        sample = SegDataSample(
            metainfo=dict(img_shape=size, ori_shape=size, pad_shape=size)
        )
        sample.gt_sem_seg = PixelData(data=torch.randint(0, 19, (1, *size)))
        samples.append(sample)
    losses = segmenter.train().loss(pictures, samples)
    losses['decode.loss_ce'].backward()
    assert all(p.grad is not None for p in segmenter.parameters())
    segmenter.eval()
    with torch.no_grad():
        found = segmenter.predict(pictures, samples)
        assert found[0].pred_sem_seg.data.shape == (1, *size)
        # Windows that are smaller than a picture, and larger.
        for crop in (33, 99):
            segmenter.test_cfg = ConfigDict(
                mode='slide', crop_size=(crop, crop), stride=(22, 22)
            )
            found = segmenter.predict(pictures, samples)
            assert found[0].seg_logits.data.shape == (19, *size)
            assert found[0].seg_logits.data.isfinite().all()


def test_dropout_is_of_what_the_classifiers_see() -> None:
    torch.manual_seed(0)
    head = LRASPPHead(in_channels=(8, 16), channels=8, num_classes=3, pool='global')
    dropping = LRASPPHead(
        in_channels=(8, 16),
        channels=8,
        num_classes=3,
        pool='global',
        dropout_ratio=0.999999,
        input_transform='multiple_select',
    )
    dropping.load_state_dict(head.state_dict())
    maps = torch.randn(2, 8, 9, 9), torch.randn(2, 16, 5, 5)
    # In training nothing is left but the biases, at inference nothing is dropped.
    biases = (head.conv_seg.bias + head.low_seg.bias).view(1, 3, 1, 1)
    torch.testing.assert_close(dropping(maps), biases.expand(2, 3, 9, 9))
    dropping.load_state_dict(head.state_dict())
    torch.testing.assert_close(dropping.eval()(maps), head.eval()(maps))


@pytest.mark.parametrize(
    ('head', 'setting', 'message'),
    [
        (LRASPPHead, dict(branch_channels=(32, 64)), 'no branch_channels: shallow'),
        (LRASPPHead, dict(input_transform='resize_concat'), "'multiple_select'"),
        (LRASPPHead, dict(act_cfg=dict(type='ReLU6')), 'no act_cfg: .* ReLU'),
        (RASPPHead, dict(input_transform='multiple_select'), 'input_transform=None'),
        (RASPPHead, dict(dilations=(1, 12, 24)), 'no dilations'),
    ],
)
def test_what_only_mmsegs_heads_have_is_refused(
    head: type, setting: dict, message: str
) -> None:
    with pytest.raises(UserError, match=message):
        head(**setting)
    # What says the same as ours is fine.
    head(act_cfg=dict(type='ReLU'), conv_cfg=None)


def test_one_window_that_covers_all_is_whole_inference() -> None:
    torch.manual_seed(0)
    segmenter = build('lraspp_mnv3_small').eval()
    x = torch.randn(1, 3, 65, 65)
    metas = [dict(img_shape=(65, 65), ori_shape=(65, 65))]
    with torch.no_grad():
        whole = segmenter.inference(x, metas)
        segmenter.test_cfg = ConfigDict(
            mode='slide', crop_size=(65, 65), stride=(65, 65)
        )
        torch.testing.assert_close(segmenter.inference(x, metas), whole)


def test_image_pooling_over_one_value_is_refused() -> None:
    head = RASPPHead(in_channels=4, channels=8).train()
    with pytest.raises(UserError, match='batch_size=2 or more'):
        head((torch.randn(1, 4, 5, 5),))
    assert head((torch.randn(2, 4, 5, 5),)).shape == (2, 19, 5, 5)
    assert head.eval()((torch.randn(1, 4, 5, 5),)).shape == (1, 19, 5, 5)


def test_components_fit_together_by_default() -> None:
    backbone = MobileNetV3(
        tail='segmentation', output_stride=16, out_taps=('block6.depthwise', 'C5')
    ).eval()
    x = torch.randn(1, 3, 64, 64)
    with torch.no_grad():
        assert LRASPPHead().eval()(backbone(x)).shape == (1, 19, 8, 8)
        assert RASPPHead().eval()(backbone(x)).shape == (1, 19, 4, 4)


def test_mmseg_keeps_its_own() -> None:
    segmenter = build('mmseg_lraspp_mnv3_large')
    assert type(segmenter.backbone).__module__.startswith('mmseg.')
    assert type(segmenter.decode_head).__module__.startswith('mmseg.')
    ours = build('lraspp_mnv3_large')
    assert type(ours.decode_head) is LRASPPHead
    # The window of 49 cells at stride 8 that mmseg's cannot do without.
    x = torch.randn(1, 3, 360, 480)
    with torch.no_grad():
        with pytest.raises(RuntimeError, match='too small'):
            logits(segmenter.eval(), x)
        assert logits(ours.eval(), x).shape == (1, 19, 360, 480)
