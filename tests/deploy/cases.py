"""Random networks whose outputs tell them apart, and what comes after them."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from functools import partial

import cv2
import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from mmnv3.deploy.info import ModelInfo
from mmnv3.deploy.results import Detections
from mmnv3.deploy.runtime import FORMATS
from mmnv3.engine.build import build_model
from mmnv3.models.nms import progressive_nms
from tests.models.parity import calibrate_norms, shake_norms


@dataclass(frozen=True)
class Case:
    config: str
    size: tuple[int, int]  # width, height
    options: dict = field(default_factory=dict)


# An export takes as long as there are layers: where the network does not matter it has
# five blocks.
CASES = {
    'sigmoid': Case(
        'configs/ssdlite_mnv3_small_coco.py',
        (320, 320),
        {'model.bbox_head.prior_prob': 0.2},
    ),
    'softmax': Case('tests/configs/ssdlite_shallow_tv.py', (320, 320)),
    'wide': Case(
        'tests/configs/ssdlite_shallow.py',
        (193, 128),
        {
            'model.bbox_head.anchor_generator.input_size': (193, 128),
            'model.bbox_head.prior_prob': 0.2,
        },
    ),
    'lraspp': Case('configs/lraspp_mnv3_small_cityscapes.py', (257, 161)),
    'windows': Case(
        'tests/configs/lraspp_shallow_cityscapes.py',
        (192, 160),
        {'model.decode_head.pool': ((5, 5), (4, 3))},
    ),
    'raspp': Case('tests/configs/raspp_shallow_cityscapes.py', (129, 97)),
    'classifier': Case('tests/configs/classifier_shallow.py', (224, 224)),
}
DETECTORS = ('sigmoid', 'softmax', 'wide')
SEGMENTERS = ('lraspp', 'windows', 'raspp')
# An export takes seconds: every runtime gets each task, and all networks have one.
_FORMATS = {
    'sigmoid': ('onnx',),
    'softmax': ('onnx',),
    'wide': tuple(FORMATS),
    'lraspp': ('onnx',),
    'windows': tuple(FORMATS),
    'raspp': ('onnx',),
    'classifier': tuple(FORMATS),
}


def pairs(cases: Iterable[str], kinds: Iterable[str]) -> list[tuple[str, str]]:
    """Every case with every kind of runtime that is tried on it."""
    return [
        (case, kind)
        for case in cases
        for kind in kinds
        if kind == 'module' or kind in _FORMATS[case]
    ]


def skip_without(kind: str) -> None:
    """Skips a test of a format whose writer, with its many packages, is not there."""
    for name, module in (('litert', 'litert_torch'), ('executorch', 'executorch')):
        if kind == name:
            pytest.importorskip(module, reason=f'there is no {module}')


def blurred_noise(size: tuple[int, int]) -> Tensor:
    """A picture as `calibrate_norms` shows them, (1, 3, H, W)."""
    torch.manual_seed(1)
    noise = [torch.rand(1, 3, cells, cells) for cells in (10, 40, 160)]
    return sum(F.interpolate(x, size[::-1], mode='bilinear') for x in noise) - 1.5


@torch.no_grad()
def random_model(case: Case) -> nn.Module:
    """A model whose logits differ by about one, and within a picture."""
    model = build_model(case.config, case.options)
    shake_norms(model)
    calibrate_norms(model, partial(model, mode='tensor'))
    if 'raspp_shallow' in case.config:
        # Four noises have almost the same average, which would blow rounding up.
        shake_norms(model.decode_head)
    found = model(blurred_noise(case.size), mode='tensor')
    if hasattr(model, 'bbox_head'):
        head = model.bbox_head
        for convs, maps in zip((head.cls_convs, head.reg_convs), found, strict=True):
            for level, output in zip(convs, maps, strict=True):
                # Photos excite the networks three times as much; not to saturate.
                level[-1].weight /= 2 * output.std()
    elif hasattr(model, 'decode_head'):
        head = model.decode_head
        # A class of a large mean and small deviation would blow rounding up, too.
        scale = found.std(dim=(0, 2, 3)) + found.mean(dim=(0, 2, 3)).abs() / 10
        for layer in (head.conv_seg, getattr(head, 'low_seg', None)):
            if layer is not None:
                layer.weight /= scale.view(-1, 1, 1, 1)
        found = model(blurred_noise(case.size), mode='tensor')
        head.conv_seg.bias -= found.mean(dim=(0, 2, 3))
    else:
        model.head.fc.weight /= found.std()
    return model


def normalised(picture: np.ndarray, info: ModelInfo) -> np.ndarray:
    """What a file's description says to do with a BGR picture."""
    picture = cv2.resize(picture, info.size)
    if info.channel_order == 'rgb':
        picture = picture[..., ::-1]
    picture = (picture - np.float32(info.mean)) / np.float32(info.std)
    return np.ascontiguousarray(picture.transpose(2, 0, 1)[None], np.float32)


def suppressed(found: dict[str, np.ndarray], info: ModelInfo) -> tuple[Tensor, ...]:
    """Boxes, scores and labels by a file's description."""
    boxes, scores = (torch.from_numpy(found[name][0]) for name in ('boxes', 'scores'))
    return progressive_nms(scores, lambda index: boxes[index], **info.suppression)


def check_same_boxes(found: Detections, expected: Detections) -> None:
    """What scores the same but for rounding may change places."""
    assert len(found.boxes) == len(expected.boxes)
    if not len(found.boxes):
        return
    apart = np.abs(found.boxes[:, None] - expected.boxes).max(-1)
    apart[found.labels[:, None] != expected.labels] = np.inf
    assert apart.min(1).max() < 0.02
    assert len(set(apart.argmin(1))) == len(found.boxes)
